package https

import (
	"crypto/tls"
	"net"
	"sync"
)

// NewTLSListener wraps l so that Serve speaks HTTP/2 and HTTP/1.1 over it. It works on a copy of
// base, so base can serve other protocols too; certificates from base.GetCertificate stay live.
func NewTLSListener(l net.Listener, base *tls.Config) net.Listener {
	cfg := base.Clone()
	cfg.NextProtos = []string{"h2", "http/1.1"}
	return tls.NewListener(l, cfg)
}

// gate bounds the open connections by leaving further ones unaccepted, which is before their TLS
// handshake. It hands out connections as they are, because net/http recognises TLS and HTTP/2 by
// the concrete type; http.Server.ConnState gives the places back.
type gate struct {
	net.Listener
	places chan struct{} // one element an open connection
	done   chan struct{}
	once   sync.Once
}

// Accept waits for a place first and for a connection next.
func (g *gate) Accept() (net.Conn, error) {
	select {
	case g.places <- struct{}{}:
	case <-g.done:
		return nil, net.ErrClosed
	}
	c, err := g.Listener.Accept()
	if err != nil {
		<-g.places
		return nil, err
	}
	return c, nil
}

// Close closes the listener and ends a waiting Accept.
func (g *gate) Close() error {
	g.once.Do(func() { close(g.done) })
	return g.Listener.Close()
}
