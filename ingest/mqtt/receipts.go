package mqtt

import (
	"sync"
	"sync/atomic"

	"ayumi/steps"
)

// subscribers are the connections that asked for their device's receipts: the one that published,
// and others of the same device.
type subscribers struct {
	n  atomic.Int64 // connections, so that nobody takes the lock while there are none
	mu sync.RWMutex // taken before a connection's mu, never after
	by map[steps.DeviceID][]*conn
}

func (s *subscribers) add(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	device := c.env.Identity.Device
	for _, o := range s.by[device] {
		if o == c {
			return
		}
	}
	if s.by == nil {
		s.by = make(map[steps.DeviceID][]*conn)
	}
	s.by[device] = append(s.by[device], c)
	s.n.Add(1)
}

func (s *subscribers) remove(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	device := c.env.Identity.Device
	for i, o := range s.by[device] {
		if o != c {
			continue
		}
		s.n.Add(-1)
		rest := append([]*conn(nil), s.by[device][:i]...)
		if s.by[device] = append(rest, s.by[device][i+1:]...); len(s.by[device]) == 0 {
			delete(s.by, device)
		}
		return
	}
}

// publish appends a receipt to the output of the device's subscribed connections. It is called from
// the store's committer and waits for nobody.
func (s *subscribers) publish(device steps.DeviceID, r *steps.Receipt, enc steps.Encoding) {
	if s.n.Load() == 0 {
		return
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, c := range s.by[device] {
		c.mu.Lock()
		if c.state < closing && c.receiptTopic != "" {
			c.appendReceiptLocked(r, enc)
			c.flushLocked()
		}
		c.mu.Unlock()
	}
}
