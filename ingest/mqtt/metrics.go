package mqtt

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// connectResult says how an attempt to connect ended; it is a metric label.
type connectResult uint8

const (
	connectAccepted connectResult = iota
	connectFull                   // closed unread, above MaxConnections
	connectTimeout
	connectLost // the peer went away
	connectTLS  // the TLS handshake failed
	connectMalformed
	connectVersion
	connectIdentifier
	connectMissing // user name or password missing or not of their form
	connectUnauthorized
	connectUnavailable
	connectAuthMethod
	connectResults // how many there are
)

var connectNames = [connectResults]string{"accepted", "full", "timeout", "lost", "tls", "malformed", "version",
	"identifier", "bad_credentials", "unauthorized", "unavailable", "auth_method"}

// pubackClass is a class of PUBACKs; it is a metric label.
type pubackClass uint8

const (
	pubackSuccess pubackClass = iota
	pubackNotAuthorized
	pubackInvalid
	pubackClasses // how many there are
)

var pubackNames = [pubackClasses]string{"success", "not_authorized", "payload_invalid"}

func classOf(code reasonCode) pubackClass {
	switch code {
	case codeSuccess:
		return pubackSuccess
	case codeNotAuthorized:
		return pubackNotAuthorized
	default:
		return pubackInvalid
	}
}

// metrics are resolved to their children once, so that counting allocates nothing.
type metrics struct {
	connections     prometheus.Gauge
	connects        [connectResults]prometheus.Counter
	disconnects     [causes]prometheus.Counter
	publishes       [2]prometheus.Counter // by QoS
	pubacks         [pubackClasses]prometheus.Counter
	received, sent  prometheus.Counter
	receipts        prometheus.Counter
	receiptsDropped prometheus.Counter
	handedOver      prometheus.Counter
	throttled       prometheus.Counter
	leftLoop        prometheus.Counter
	panics          prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	var all []prometheus.Collector
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "ayumi", Subsystem: "mqtt", Name: name, Help: help})
		all = append(all, c)
		return c
	}
	vector := func(name, help, label string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "ayumi", Subsystem: "mqtt", Name: name, Help: help}, []string{label})
		all = append(all, v)
		return v
	}
	m := &metrics{
		connections: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "ayumi", Subsystem: "mqtt", Name: "connections",
			Help: "Open connections, those that have not sent CONNECT included."}),
		received:        counter("received_bytes_total", "Bytes read from clients, without TLS framing."),
		sent:            counter("sent_bytes_total", "Bytes written to clients, without TLS framing."),
		receipts:        counter("receipts_total", "Receipts queued for subscribers."),
		receiptsDropped: counter("receipts_dropped_total", "Receipts dropped because the subscriber read too slowly or accepts no packet of that size."),
		handedOver:      counter("readers_handed_over_total", "Connections whose publish waited so long that another goroutine read on."),
		throttled:       counter("throttled_total", "Packets held up because their device had used up its allowance."),
		leftLoop:        counter("loop_left_total", "Packets that had to wait, or take long, and left the event loop for a goroutine of their own."),
		panics:          counter("panics_total", "Panics while serving a connection."),
	}
	all = append(all, m.connections)
	fill(m.connects[:], vector("connects_total", "Attempts to connect by result.", "result"), connectNames[:])
	fill(m.disconnects[:], vector("disconnects_total", "Connections ended by cause.", "cause"), causeNames[:])
	fill(m.publishes[:], vector("publishes_total", "PUBLISH packets submitted by QoS.", "qos"), []string{"0", "1"})
	fill(m.pubacks[:], vector("pubacks_total", "PUBACK packets queued by class of reason, as v5 clients see it.", "reason"), pubackNames[:])
	if reg == nil {
		return m, nil
	}
	for _, c := range all {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("cannot register mqtt metrics: %w", err)
		}
	}
	return m, nil
}

func fill(dst []prometheus.Counter, v *prometheus.CounterVec, labels []string) {
	for i := range dst {
		dst[i] = v.WithLabelValues(labels[i])
	}
}
