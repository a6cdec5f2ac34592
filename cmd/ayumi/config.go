package main

import (
	"fmt"
	"io/fs"
	"math"
	"net"
	"os"
	"reflect"
	"runtime"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/viper"

	"ayumi/closing"
	"ayumi/ingest"
	"ayumi/ingest/mqtt"
	"ayumi/merge"
	"ayumi/plausibility"
	"ayumi/points"
	"ayumi/steps"
	"ayumi/store"
)

// config is everything that an operator can set. config.example.yaml documents each key.
type config struct {
	Profile   string          `mapstructure:"profile"`
	Programme programmeConfig `mapstructure:"programme"`
	MQTT      mqttConfig      `mapstructure:"mqtt"`
	HTTPS     httpsConfig     `mapstructure:"https"`
	TLS       tlsConfig       `mapstructure:"tls"`
	Metrics   metricsConfig   `mapstructure:"metrics"`
	Limits    limitsConfig    `mapstructure:"limits"`
	Points    pointsConfig    `mapstructure:"points"`

	Plausibility plausibilityConfig `mapstructure:"plausibility"`

	Store storeConfig `mapstructure:"store"`
	Log   logConfig   `mapstructure:"log"`
}

type programmeConfig struct {
	TimeZone string `mapstructure:"time_zone"`
	Preset   string `mapstructure:"preset"`
	Rules    string `mapstructure:"rules"`

	Sources sourcesConfig `mapstructure:"sources"`
}

// sourcesConfig is a merge.Config, whose fields it has.
type sourcesConfig struct {
	Policy                merge.Policy     `mapstructure:"policy"`
	Manual                merge.OriginRule `mapstructure:"manual"`
	Unknown               merge.OriginRule `mapstructure:"unknown"`
	NotCarriedMinutes     int              `mapstructure:"not_carried_minutes"`
	ClockToleranceMinutes int              `mapstructure:"clock_tolerance_minutes"`
}

type mqttConfig struct {
	Listen               string        `mapstructure:"listen"`
	ListenTLS            string        `mapstructure:"listen_tls"`
	AllowPlainRemote     bool          `mapstructure:"allow_plain_remote"`
	MaxConnections       int           `mapstructure:"max_connections"`
	ConnectionsPerDevice int           `mapstructure:"connections_per_device"`
	ConnectTimeout       time.Duration `mapstructure:"connect_timeout"`
	KeepAliveMax         time.Duration `mapstructure:"keep_alive_max"`
	ReceiveMaximum       int           `mapstructure:"receive_maximum"`
}

type httpsConfig struct {
	Listen            string        `mapstructure:"listen"`
	MaxConnections    int           `mapstructure:"max_connections"`
	MaxInFlight       int           `mapstructure:"max_in_flight"`
	RequestsPerDevice int           `mapstructure:"requests_per_device"`
	CommitTimeout     time.Duration `mapstructure:"commit_timeout"`
}

type tlsConfig struct {
	CertFile string   `mapstructure:"cert_file"`
	KeyFile  string   `mapstructure:"key_file"`
	Hosts    []string `mapstructure:"hosts"`
}

type metricsConfig struct {
	Listen string `mapstructure:"listen"`
}

type limitsConfig struct {
	UploadBytes        int           `mapstructure:"upload_bytes"`
	UploadsPerBundle   int           `mapstructure:"uploads_per_bundle"`
	SeriesPerUpload    int           `mapstructure:"series_per_upload"`
	IntervalsPerSeries int           `mapstructure:"intervals_per_series"`
	MaxFuture          time.Duration `mapstructure:"max_future"`
	MaxAgeDays         int           `mapstructure:"max_age_days"`
	StepsPerMinute     uint32        `mapstructure:"steps_per_minute"`
	DeviceRate         int           `mapstructure:"device_rate"`
	DeviceBurst        int           `mapstructure:"device_burst"`
	ReaderRate         int           `mapstructure:"reader_rate"`
	ReaderBurst        int           `mapstructure:"reader_burst"`
}

type pointsConfig struct {
	FinalAfterDays  int           `mapstructure:"final_after_days"`
	CloseAfterStart time.Duration `mapstructure:"close_after_start"`
}

type plausibilityConfig struct {
	HoldSevere  bool                `mapstructure:"hold_severe"`
	HoldKinds   []plausibility.Kind `mapstructure:"hold_kinds"`
	CompareDays int                 `mapstructure:"compare_days"`
	Limits      plausibility.Config `mapstructure:"limits"`
}

type storeConfig struct {
	QueueLen            int           `mapstructure:"queue_len"`
	GroupBytes          int           `mapstructure:"group_bytes"`
	CheckpointBytes     int64         `mapstructure:"checkpoint_bytes"`
	CheckpointEvery     time.Duration `mapstructure:"checkpoint_every"`
	HeadBytes           int64         `mapstructure:"head_bytes"`
	QuarantinePerDevice int           `mapstructure:"quarantine_per_device"`
	MinFreeBytes        uint64        `mapstructure:"min_free_bytes"`
	MemTableBytes       int64         `mapstructure:"mem_table_bytes"`
	MemTables           int           `mapstructure:"mem_tables"`
}

type logConfig struct {
	Level  string `mapstructure:"level"`
	Format string `mapstructure:"format"`
}

// defaultConfig listens on the loopback only. Its profile is that of the machine.
func defaultConfig() config {
	cfg := unfitted()
	cfg.fit(availableMemory())
	return cfg
}

// unfitted are the defaults without what the profile decides.
func unfitted() config {
	limits, rates := ingest.DefaultLimits(), ingest.DefaultRates()
	st, mq := store.DefaultConfig(""), mqtt.DefaultConfig()
	return config{
		Profile:   profileAuto,
		Programme: programmeConfig{TimeZone: "Asia/Tokyo", Preset: "yokohama", Sources: sourcesConfig(merge.DefaultConfig())},
		MQTT: mqttConfig{
			Listen: "127.0.0.1:1883", ListenTLS: "127.0.0.1:8883", ConnectionsPerDevice: mq.ConnectionsPerDevice,
			ConnectTimeout: mq.ConnectTimeout, KeepAliveMax: mq.KeepAliveMax, ReceiveMaximum: mq.ReceiveMaximum,
		},
		HTTPS: httpsConfig{
			Listen: "127.0.0.1:8443", RequestsPerDevice: 64, CommitTimeout: 10 * time.Second,
		},
		TLS:     tlsConfig{Hosts: []string{}},
		Metrics: metricsConfig{Listen: "127.0.0.1:9464"},
		Limits: limitsConfig{
			UploadBytes:        1 << 20,
			UploadsPerBundle:   limits.Protocol.UploadsPerBundle,
			SeriesPerUpload:    limits.Protocol.SeriesPerUpload,
			IntervalsPerSeries: limits.Protocol.IntervalsPerSeries,
			MaxFuture:          limits.MaxFuture,
			MaxAgeDays:         limits.MaxAgeDays,
			StepsPerMinute:     limits.StepsPerMinute,
			DeviceRate:         rates.Device.PerSecond, DeviceBurst: rates.Device.Burst,
			ReaderRate: rates.Reader.PerSecond, ReaderBurst: rates.Reader.Burst,
		},
		Points:       pointsConfig{CloseAfterStart: 6 * time.Hour},
		Plausibility: plausibilityConfig{HoldKinds: []plausibility.Kind{}, CompareDays: 28, Limits: plausibility.DefaultConfig()},
		Store: storeConfig{
			CheckpointEvery: st.CheckpointEvery, QuarantinePerDevice: st.QuarantinePerDevice, MinFreeBytes: st.MinFreeBytes,
		},
		Log: logConfig{Level: "info", Format: "text"},
	}
}

// loadConfig reads a YAML file over the defaults. Unknown keys are errors. An empty name is the
// defaults alone.
func loadConfig(name string) (config, error) {
	if name == "" {
		return defaultConfig(), nil
	}
	cfg := unfitted()
	v := viper.New()
	v.SetConfigFile(name)
	v.SetConfigType("yaml")
	if err := v.ReadInConfig(); err != nil {
		return cfg, steps.Errorf("read config", steps.Invalid, "%q: %w", name, err)
	}
	hooks := viper.DecodeHook(mapstructure.ComposeDecodeHookFunc(durationHook, mapstructure.TextUnmarshallerHookFunc()))
	strict := func(d *mapstructure.DecoderConfig) { d.WeaklyTypedInput = false }
	if err := v.UnmarshalExact(&cfg, hooks, strict); err != nil {
		return cfg, steps.Errorf("read config", steps.Invalid, "%q: %w; config.example.yaml lists every key", name, err)
	}
	cfg.fit(availableMemory())
	if err := cfg.check(); err != nil {
		return cfg, steps.Errorf("read config", steps.Invalid, "%q: %w", name, err)
	}
	return cfg, nil
}

// durationHook reads a duration with its unit. A bare number would be taken for nanoseconds.
func durationHook(_, to reflect.Type, value any) (any, error) {
	if to != reflect.TypeFor[time.Duration]() {
		return value, nil
	}
	text, ok := value.(string)
	if !ok {
		return nil, fmt.Errorf("%v is no duration; write it with a unit, such as 10s", value)
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return nil, fmt.Errorf("%q is no duration; write it with a unit, such as 10s", text)
	}
	return d, nil
}

// check rejects what the rooms would not, or would only when it is too late.
func (c *config) check() error {
	if c.Profile != profileAuto && c.Profile != profileSmall && c.Profile != profileLarge {
		return fmt.Errorf("profile is %q; use %s, %s or %s", c.Profile, profileAuto, profileSmall, profileLarge)
	}
	if err := c.checkPlain(); err != nil {
		return err
	}
	if err := c.checkBounds(); err != nil {
		return err
	}
	if sources := merge.Config(c.Programme.Sources); sources.Validate() != nil {
		return fmt.Errorf("programme.sources: %w", sources.Validate())
	}
	if err := c.Plausibility.Limits.Validate(); err != nil {
		return fmt.Errorf("plausibility.limits: %w", err)
	}
	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		return fmt.Errorf("tls.cert_file and tls.key_file go together; set both or neither")
	}
	if _, err := c.logLevel(); err != nil {
		return err
	}
	if c.Log.Format != "text" && c.Log.Format != "json" {
		return fmt.Errorf("log.format is %q; use text or json", c.Log.Format)
	}
	return nil
}

// checkBounds rejects numbers that a room would refuse when the gateway starts.
func (c *config) checkBounds() error {
	const seconds = 65_535 * int64(time.Second) // MQTT's keep alive has 16 bits
	for _, bound := range []struct {
		key         string
		value       any
		least, most int64
	}{
		{"mqtt.max_connections", c.MQTT.MaxConnections, 1, 1 << 24},
		{"mqtt.connections_per_device", c.MQTT.ConnectionsPerDevice, 1, 1 << 10},
		{"mqtt.connect_timeout", c.MQTT.ConnectTimeout, int64(time.Millisecond), int64(time.Hour)},
		{"mqtt.keep_alive_max", c.MQTT.KeepAliveMax, int64(time.Second), seconds},
		{"mqtt.receive_maximum", c.MQTT.ReceiveMaximum, 1, 65_535},
		{"https.max_connections", c.HTTPS.MaxConnections, 1, math.MaxInt64},
		{"https.max_in_flight", c.HTTPS.MaxInFlight, 1, math.MaxInt64},
		{"https.requests_per_device", c.HTTPS.RequestsPerDevice, 1, math.MaxInt32},
		{"https.commit_timeout", c.HTTPS.CommitTimeout, int64(time.Millisecond), math.MaxInt64},
		{"limits.upload_bytes", c.Limits.UploadBytes, 4096, 1 << 20}, // a journal record holds no more
		{"limits.uploads_per_bundle", c.Limits.UploadsPerBundle, 1, math.MaxInt64},
		{"limits.series_per_upload", c.Limits.SeriesPerUpload, 1, math.MaxInt64},
		{"limits.intervals_per_series", c.Limits.IntervalsPerSeries, 1, math.MaxInt64},
		{"limits.max_future", c.Limits.MaxFuture, 0, math.MaxInt64},
		{"limits.max_age_days", c.Limits.MaxAgeDays, 0, math.MaxInt64},
		{"limits.steps_per_minute", c.Limits.StepsPerMinute, 1, math.MaxInt64},
		{"limits.device_rate", c.Limits.DeviceRate, 0, 1e6},
		{"limits.device_burst", c.Limits.DeviceBurst, 1, 1e9},
		{"limits.reader_rate", c.Limits.ReaderRate, 0, 1e6},
		{"limits.reader_burst", c.Limits.ReaderBurst, 1, 1e9},
		{"points.final_after_days", c.Points.FinalAfterDays, 0, closing.MaxFinalAfter},
		{"points.close_after_start", c.Points.CloseAfterStart, 0, int64(7 * 24 * time.Hour)},
		{"plausibility.compare_days", c.Plausibility.CompareDays, 1, 100}, // a row of fingerprints holds them
		{"store.queue_len", c.Store.QueueLen, 1, 1 << 16},
		{"store.group_bytes", c.Store.GroupBytes, 1, 64 << 20},
		{"store.checkpoint_bytes", c.Store.CheckpointBytes, 1, 1 << 40},
		{"store.checkpoint_every", c.Store.CheckpointEvery, 1, math.MaxInt64},
		{"store.head_bytes", c.Store.HeadBytes, 1 << 20, 1 << 40},
		{"store.quarantine_per_device", c.Store.QuarantinePerDevice, 1, math.MaxInt64},
		{"store.mem_table_bytes", c.Store.MemTableBytes, 32 << 20, 1 << 30}, // a group of uploads is one transaction
		{"store.mem_tables", c.Store.MemTables, 1, 100},
	} {
		if err := within(bound.key, bound.value, bound.least, bound.most); err != nil {
			return err
		}
	}
	return nil
}

// within compares a number with its bounds and names them in its own unit.
func within(key string, value any, least, most int64) error {
	v, show := reflect.ValueOf(value), func(n int64) string { return fmt.Sprint(n) }
	if _, ok := value.(time.Duration); ok {
		show = func(n int64) string { return time.Duration(n).String() }
	}
	n := int64(0)
	if v.CanUint() {
		n = int64(v.Uint())
	} else {
		n = v.Int()
	}
	switch {
	case n < least:
		return fmt.Errorf("%s is %s; use at least %s", key, show(n), show(least))
	case n > most:
		return fmt.Errorf("%s is %s; use at most %s", key, show(n), show(most))
	}
	return nil
}

// checkPlain refuses unencrypted listeners that others than this machine can reach.
func (c *config) checkPlain() error {
	if !c.MQTT.AllowPlainRemote && c.MQTT.Listen != "" && !loopback(c.MQTT.Listen) {
		return fmt.Errorf("mqtt.listen %q is plain TCP beyond the loopback: secrets and steps would cross the network "+
			"unencrypted; use mqtt.listen_tls, or set mqtt.allow_plain_remote: true behind a TLS proxy", c.MQTT.Listen)
	}
	return nil
}

func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

// rules loads the rule book that the config names.
func (c *config) rules() (*points.RuleBook, error) {
	if c.Programme.Rules == "" {
		return points.Preset(c.Programme.Preset)
	}
	f, err := os.Open(c.Programme.Rules)
	if err != nil {
		return nil, steps.Errorf("read rules", steps.Invalid, "programme.rules: %w", err)
	}
	defer f.Close()
	return points.ParseRules(c.Programme.Rules, f)
}

// storeConfig returns the store's part, for a data directory.
func (c *config) store(dir string) store.Config {
	s := store.DefaultConfig(dir)
	*s.Sources = merge.Config(c.Programme.Sources)
	s.QueueLen = c.Store.QueueLen
	s.CheckpointBytes = c.Store.CheckpointBytes
	s.CheckpointEvery = c.Store.CheckpointEvery
	s.HeadBytes = c.Store.HeadBytes
	s.QuarantinePerDevice = c.Store.QuarantinePerDevice
	s.MinFreeBytes = c.Store.MinFreeBytes
	s.MemTableBytes, s.MemTables = c.Store.MemTableBytes, c.Store.MemTables
	s.GroupBytes = int(min(int64(c.Store.GroupBytes), s.MemTableBytes/16))
	s.StopWithin = 1500 * time.Millisecond
	return s
}

// ingestLimits returns the pipeline's part.
func (c *config) ingestLimits() ingest.Limits {
	l := ingest.DefaultLimits()
	l.Protocol.UploadsPerBundle = c.Limits.UploadsPerBundle
	l.Protocol.SeriesPerUpload = c.Limits.SeriesPerUpload
	l.Protocol.IntervalsPerSeries = c.Limits.IntervalsPerSeries
	l.MaxFuture = c.Limits.MaxFuture
	l.MaxAgeDays = c.Limits.MaxAgeDays
	l.StepsPerMinute = c.Limits.StepsPerMinute
	return l
}

// rates returns how much each device may upload.
func (c *config) rates() ingest.Rates {
	return ingest.Rates{
		Device: ingest.Rate{PerSecond: c.Limits.DeviceRate, Burst: c.Limits.DeviceBurst},
		Reader: ingest.Rate{PerSecond: c.Limits.ReaderRate, Burst: c.Limits.ReaderBurst},
	}
}

// makeDataDir creates the data directory for its owner only.
func makeDataDir(dir string) error {
	if dir == "" {
		return steps.Errorf("open data directory", steps.Invalid, "--data-dir is missing; name a directory that the gateway may fill")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return steps.Errorf("open data directory", steps.Invalid, "--data-dir: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return steps.Errorf("open data directory", steps.Invalid, "--data-dir: %w", err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&fs.FileMode(0o022) != 0 {
		return steps.Errorf("open data directory", steps.Invalid,
			"--data-dir %q can be written by others; run chmod go-w on it", strings.TrimSpace(dir))
	}
	return nil
}
