package mqtt

import (
	"log/slog"
	"sync"

	"ayumi/steps"
)

// subscribe grants a device its own receipt topic, with QoS 0 whatever it asked for, and refuses
// every other filter in the SUBACK.
func (c *conn) subscribe(body []byte) error {
	var codes []byte
	granted := false
	id, err := parseSubscribe(body, c.level, func(filter []byte) {
		switch {
		case c.srv.cfg.EncodeReceipt != nil && c.isReceiptTopic(filter):
			granted = true
			codes = append(codes, 0)
		case c.level == level5:
			codes = append(codes, byte(codeNotAuthorized))
		default:
			codes = append(codes, subackFailure)
		}
	})
	if err != nil {
		return err
	}
	err = c.reply(func(dst []byte) []byte { return appendFilterAck(dst, typeSuback, c.level, id, codes) })
	if err == nil && granted {
		c.setReceiptTopic(c.ownTopics + receiptLevel)
		c.srv.subscribers.add(c)
	}
	return err
}

func (c *conn) unsubscribe(body []byte) error {
	var codes []byte
	c.mu.Lock()
	subscribed := c.receiptTopic != ""
	c.mu.Unlock()
	id, err := parseUnsubscribe(body, c.level, func(filter []byte) {
		code := codeNoSubscription
		if subscribed && c.isReceiptTopic(filter) {
			code, subscribed = codeSuccess, false
		}
		if c.level == level5 {
			codes = append(codes, byte(code))
		}
	})
	if err != nil {
		return err
	}
	if !subscribed {
		c.setReceiptTopic("")
		c.srv.subscribers.remove(c)
	}
	return c.reply(func(dst []byte) []byte { return appendFilterAck(dst, typeUnsuback, c.level, id, codes) })
}

const receiptLevel = "receipt"

func (c *conn) isReceiptTopic(filter []byte) bool {
	n := len(c.ownTopics)
	return len(filter) == n+len(receiptLevel) && string(filter[:n]) == c.ownTopics && string(filter[n:]) == receiptLevel
}

func (c *conn) setReceiptTopic(topic string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.receiptTopic = topic
}

type scratch struct{ b []byte }

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// appendReceiptLocked publishes a receipt to its subscriber, or drops it if the subscriber is
// behind or takes no packet of that size (MQTT-3.1.2-25).
func (c *conn) appendReceiptLocked(r *steps.Receipt, enc steps.Encoding) {
	if enc == 0 {
		enc = steps.JSON
	}
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	room := c.srv.cfg.ReceiptBuffer - c.out.receipts
	if room <= 0 || !c.encodeReceipt(s, r, enc) {
		c.srv.metrics.receiptsDropped.Inc()
		return
	}
	_, size := publishLen(c.level, c.receiptTopic, len(s.b))
	if size > room || c.maximumPacket > 0 && size > int(c.maximumPacket) {
		c.srv.metrics.receiptsDropped.Inc()
		return
	}
	out := c.out.buffer()
	out.b = appendPublish(out.b, c.level, c.receiptTopic, s.b)
	c.out.receipts += size
	c.srv.metrics.receipts.Inc()
}

// encodeReceipt keeps a panic in the encoder from the committer.
func (c *conn) encodeReceipt(s *scratch, r *steps.Receipt, enc steps.Encoding) (ok bool) {
	defer func() {
		if p := recover(); p != nil {
			c.srv.metrics.panics.Inc()
			c.srv.log.Error("mqtt receipt encoder panicked", slog.Any("panic", p))
		}
	}()
	s.b = c.srv.cfg.EncodeReceipt(s.b[:0], r, enc)
	return true
}
