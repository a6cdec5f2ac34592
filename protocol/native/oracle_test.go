package native

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
	"pgregory.net/rapid"

	"ayumi/protocol"
	"ayumi/steps"
)

// compileProto compiles ayumi.proto, so that the tests have a second implementation that owes
// nothing to ours.
func compileProto(t testing.TB) protoreflect.FileDescriptor {
	t.Helper()
	source, err := os.ReadFile("ayumi.proto")
	if err != nil {
		t.Fatal(err)
	}
	c := protocompile.Compiler{Resolver: &protocompile.SourceResolver{
		Accessor: protocompile.SourceAccessorFromMap(map[string]string{"ayumi.proto": string(source)}),
	}}
	files, err := c.Compile(context.Background(), "ayumi.proto")
	if err != nil {
		t.Fatal(err)
	}
	return files[0]
}

// oracle is a message type of ayumi.proto.
type oracle struct{ protoreflect.MessageDescriptor }

func newOracle(t testing.TB, name string) oracle {
	return oracle{compileProto(t).Messages().ByName(protoreflect.Name(name))}
}

func get(m protoreflect.Message, name string) protoreflect.Value {
	return m.Get(m.Descriptor().Fields().ByName(protoreflect.Name(name)))
}

func set(m protoreflect.Message, name string, v any) {
	m.Set(m.Descriptor().Fields().ByName(protoreflect.Name(name)), protoreflect.ValueOf(v))
}

func mutable(m protoreflect.Message, name string) protoreflect.Value {
	return m.Mutable(m.Descriptor().Fields().ByName(protoreflect.Name(name)))
}

// decode reads an upload with dynamicpb.
func (o oracle) decode(b []byte) (*steps.Upload, error) {
	m := dynamicpb.NewMessage(o)
	if err := proto.Unmarshal(b, m); err != nil {
		return nil, err
	}
	u := &steps.Upload{
		Device: steps.DeviceID(get(m, "device").String()),
		Revision: steps.Revision{
			Boot: uint32(get(m, "boot").Uint()),
			Seq:  get(m, "seq").Uint(),
		},
		SentAt:    get(m, "sent_at").Int(),
		UTCOffset: int32(get(m, "utc_offset_s").Int()),
	}
	status := get(m, "status").Message()
	u.Status = steps.DeviceStatus{
		Battery:  uint8(get(status, "battery").Uint()),
		Firmware: get(status, "firmware").String(),
		Signal:   int32(get(status, "signal").Int()),
	}
	list := get(m, "series").List()
	for i := range list.Len() {
		in := list.Get(i).Message()
		s := steps.Series{
			Start:      get(in, "start").Int(),
			Interval:   uint32(get(in, "interval_s").Uint()),
			Origin:     steps.Origin(get(in, "origin").Enum()),
			WindowEnd:  get(in, "window_end").Int(),
			Cumulative: get(in, "cumulative").Bool(),
		}
		if s.Interval == 0 {
			s.Interval = steps.DefaultInterval
		}
		counts := get(in, "steps").List()
		for j := range counts.Len() {
			s.Counts = append(s.Counts, uint32(counts.Get(j).Uint()))
		}
		u.Series = append(u.Series, s)
	}
	return u, nil
}

// encode writes an upload with dynamicpb.
func (o oracle) encode(u *steps.Upload) []byte {
	m := dynamicpb.NewMessage(o)
	set(m, "device", string(u.Device))
	set(m, "boot", u.Revision.Boot)
	set(m, "seq", u.Revision.Seq)
	set(m, "sent_at", u.SentAt)
	set(m, "utc_offset_s", u.UTCOffset)
	status := mutable(m, "status").Message()
	set(status, "battery", uint32(u.Status.Battery))
	set(status, "firmware", u.Status.Firmware)
	set(status, "signal", u.Status.Signal)
	list := mutable(m, "series").List()
	for _, s := range u.Series {
		out := list.AppendMutable().Message()
		set(out, "start", s.Start)
		set(out, "interval_s", s.Interval)
		set(out, "origin", protoreflect.EnumNumber(s.Origin))
		set(out, "window_end", s.WindowEnd)
		set(out, "cumulative", s.Cumulative)
		counts := mutable(out, "steps").List()
		for _, n := range s.Counts {
			counts.Append(protoreflect.ValueOfUint32(n))
		}
	}
	b, err := proto.Marshal(m)
	if err != nil {
		panic(err) // the descriptor is ours and complete
	}
	return b
}

// jsonUpload is what wire.md says of JSON, for encoding/json.
type jsonUpload struct {
	Device    string       `json:"device,omitempty"`
	Boot      uint32       `json:"boot,omitempty"`
	Seq       uint64       `json:"seq,omitempty"`
	SentAt    *time.Time   `json:"sent_at,omitempty"`
	UTCOffset int32        `json:"utc_offset_s"`
	Series    []jsonSeries `json:"series,omitempty"`
	Status    *jsonStatus  `json:"status,omitempty"`
}

type jsonSeries struct {
	Start      time.Time  `json:"start"`
	Interval   uint32     `json:"interval_s,omitempty"`
	Steps      []uint32   `json:"steps,omitempty"`
	Origin     string     `json:"origin,omitempty"`
	WindowEnd  *time.Time `json:"window_end,omitempty"`
	Cumulative bool       `json:"cumulative,omitempty"`
}

type jsonStatus struct {
	Battery  uint8  `json:"battery"`
	Firmware string `json:"firmware"`
	Signal   int32  `json:"signal"`
}

func toJSON(u *steps.Upload, zone *time.Location) jsonUpload {
	at := func(unix int64) *time.Time {
		if unix == 0 {
			return nil
		}
		t := time.Unix(unix, 0).In(zone)
		return &t
	}
	out := jsonUpload{
		Device: string(u.Device), Boot: u.Revision.Boot, Seq: u.Revision.Seq, SentAt: at(u.SentAt), UTCOffset: u.UTCOffset,
		Status: &jsonStatus{u.Status.Battery, u.Status.Firmware, u.Status.Signal},
	}
	for _, s := range u.Series {
		out.Series = append(out.Series, jsonSeries{*at(s.Start), s.Interval, s.Counts, s.Origin.String(), at(s.WindowEnd), s.Cumulative})
	}
	return out
}

func fromJSON(in jsonUpload) *steps.Upload {
	unix := func(t *time.Time) int64 {
		if t == nil {
			return 0
		}
		return t.Unix()
	}
	u := &steps.Upload{
		Device: steps.DeviceID(in.Device), Revision: steps.Revision{Boot: in.Boot, Seq: in.Seq},
		SentAt: unix(in.SentAt), UTCOffset: in.UTCOffset,
	}
	if in.Status != nil {
		u.Status = steps.DeviceStatus{Battery: in.Status.Battery, Firmware: in.Status.Firmware, Signal: in.Status.Signal}
	}
	for _, s := range in.Series {
		origin, _ := steps.ParseOrigin(s.Origin)
		if s.Interval == 0 {
			s.Interval = steps.DefaultInterval
		}
		u.Series = append(u.Series, steps.Series{
			Start: s.Start.Unix(), Interval: s.Interval, Counts: s.Steps, Origin: origin,
			WindowEnd: unix(s.WindowEnd), Cumulative: s.Cumulative,
		})
	}
	return u
}

func TestAgainstOtherImplementations(t *testing.T) {
	o := newOracle(t, "Upload")
	limits := protocol.DefaultLimits()
	d := NewDecoder(limits)
	tokyo := time.FixedZone("", 9*3600)
	var u steps.Upload
	rapid.Check(t, func(t *rapid.T) {
		want := genUpload(limits).Draw(t, "upload")
		same := func(how string, got *steps.Upload, err error) {
			if err != nil || !equalUpload(got, want) {
				t.Fatalf("%s: %v\ngot\n%swant\n%s", how, err, dump(got), dump(want))
			}
		}
		got, err := o.decode(AppendUpload(nil, want, steps.Protobuf))
		same("our protobuf, read by dynamicpb", got, err)
		err = d.Upload(&u, o.encode(want), steps.Protobuf)
		same("protobuf of dynamicpb, read by us", &u, err)

		var in jsonUpload
		err = json.Unmarshal(AppendUpload(nil, want, steps.JSON), &in)
		same("our JSON, read by encoding/json", fromJSON(in), err)
		body, err := json.Marshal(toJSON(want, tokyo))
		if err == nil {
			err = d.Upload(&u, body, steps.JSON)
		}
		same("JSON of encoding/json, read by us", &u, err)
	})
}

// The decoder's tables and the Go enums say what ayumi.proto says.
func TestTablesMatchProto(t *testing.T) {
	file := compileProto(t)
	wires := map[protoreflect.Kind]int8{
		protoreflect.StringKind: 2, protoreflect.MessageKind: 2, protoreflect.Uint32Kind: 0, protoreflect.Uint64Kind: 0,
		protoreflect.Int64Kind: 0, protoreflect.Sint32Kind: 0, protoreflect.BoolKind: 0, protoreflect.EnumKind: 0,
	}
	for name, m := range map[string]message{
		"Upload": uploadMessage, "Series": seriesMessage, "Status": statusMessage, "Bundle": bundleMessage,
	} {
		fields := file.Messages().ByName(protoreflect.Name(name)).Fields()
		if fields.Len() != len(m)-1 {
			t.Errorf("%s has %d fields in ayumi.proto, %d in the decoder", name, fields.Len(), len(m)-1)
		}
		for num := 1; num < len(m); num++ {
			f := fields.ByNumber(protoreflect.FieldNumber(num))
			if f == nil || string(f.Name()) != m[num].name || f.IsList() != m[num].repeated || f.IsPacked() != m[num].packable ||
				!f.IsPacked() && wires[f.Kind()] != int8(m[num].wire) {
				t.Errorf("%s: field %d %q differs from ayumi.proto", name, num, m[num].name)
			}
		}
	}
	enum := func(name, zero string, names ...string) {
		values := file.Enums().ByName(protoreflect.Name(name)).Values()
		if values.Len() != len(names)+1 {
			t.Errorf("%s has %d values in ayumi.proto, %d in Go", name, values.Len(), len(names)+1)
		}
		for i, want := range append([]string{zero}, names...) {
			v := values.ByNumber(protoreflect.EnumNumber(i))
			if v == nil || string(v.Name()) != strings.ToUpper(name+"_"+want) {
				t.Errorf("%s %d is not %s in ayumi.proto", name, i, want)
			}
		}
	}
	var reasons []string
	for _, r := range steps.Reasons() {
		reasons = append(reasons, r.String())
	}
	enum("Reason", "unspecified", reasons...)
	enum("Verdict", "unspecified", steps.Stored.String(), steps.Duplicate.String(), steps.Quarantined.String())
	enum("Origin", steps.OriginUnknown.String(), steps.OriginSensor.String(), steps.OriginManual.String())
}
