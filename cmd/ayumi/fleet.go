package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"time"

	"ayumi/admin"
	"ayumi/replay"
	"ayumi/steps"
	"ayumi/uplink"
)

// fleet is a set of simulated devices that upload to a running gateway, with what the gateway must
// hold afterwards.
type fleet struct {
	devices []replay.Device
	people  []enrolment // as devices
	want    replay.Expectation
}

// enrolment is what the registry must know before a device may upload.
type enrolment struct {
	participant steps.ParticipantID
	device      steps.DeviceID
	kind        string
	from        steps.Day
}

// add plans a person's uploads.
func (f *fleet) add(p replay.Person, device steps.DeviceID, kind string, by replay.Transport, o replay.PlanOptions) error {
	participant, err := steps.ParseParticipantID(p.ID)
	if err != nil {
		return err
	}
	if len(p.Hours) == 0 {
		return nil
	}
	plan := replay.Plan(p, o)
	f.want.Add(p, o.Calendar, plan)
	f.devices = append(f.devices, replay.Device{ID: device, Transport: by, Sendings: plan})
	f.people = append(f.people, enrolment{participant, device, kind, p.Hours[0].Day})
	return nil
}

// enrol registers everybody through the gateway's administration and hands out the secrets. Who is
// registered already gets a new secret.
func (f *fleet) enrol(ctx context.Context, c *admin.Client) error {
	secrets, err := enrolAll(ctx, c, f.people)
	if err != nil {
		return err
	}
	for i := range f.devices {
		f.devices[i].Secret = secrets[f.devices[i].ID]
	}
	return nil
}

// options says how to reach the gateway whose status this is.
func (f *fleet) options(st *admin.Status, connections int) (replay.RunOptions, error) {
	conf, err := clientTLS(st.CAFile)
	if err != nil {
		return replay.RunOptions{}, err
	}
	o := replay.RunOptions{
		Connections: connections, MQTTTLS: conf, HTTPSTLS: conf,
		HTTPSURL: "https://" + st.Addresses["https"], MQTTAddr: st.Addresses["mqtts"],
		Retry: uplink.Retry{Patience: time.Minute}, ProgressEvery: redraw,
	}
	if o.MQTTAddr == "" {
		o.MQTTAddr, o.MQTTTLS = st.Addresses["mqtt"], nil
	}
	return o, nil
}

// clientTLS trusts the gateway's own CA, or the system's when it has a certificate from elsewhere.
func clientTLS(caFile string) (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile == "" {
		return conf, nil
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("cannot read the gateway's CA: %w", err)
	}
	conf.RootCAs = x509.NewCertPool()
	if !conf.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("cannot read the gateway's CA: %q holds no certificate", caFile)
	}
	return conf, nil
}

// send uploads everything and reports on the way.
func (f *fleet) send(ctx context.Context, o replay.RunOptions, bar *progress) (replay.Result, error) {
	return replay.Run(ctx, o, f.devices, func(p replay.Progress) {
		bar.show("%s  %d of %d uploads acknowledged, %.0f/s, %d quarantined, %d reconnects",
			gauge(p.Acknowledged, p.Sendings), p.Acknowledged, p.Sendings, p.PerSecond(), p.Quarantined, p.Reconnects)
	})
}

// gauge draws how much of all is done.
func gauge(done, all int) string {
	const width = 24
	full := width
	if all > 0 {
		full = done * width / all
	}
	bar := make([]rune, width)
	for i := range bar {
		bar[i] = '░'
		if i < full {
			bar[i] = '█'
		}
	}
	return string(bar)
}
