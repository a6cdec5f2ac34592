// Command bare is a yardstick, not a product: the least that an HTTPS listener on net/http must do.
// Its handler reads the body, discards it and answers 200. It checks no credential, decodes nothing
// and keeps nothing. scripts/bench-peers measures the gateway against it.
package main

import (
	"context"
	"flag"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"ayumi/pki"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:0", "listen on `HOST:PORT`")
	dir := flag.String("tls", "", "`DIR` for its CA and certificate; clients trust ca.pem in it")
	flag.Parse()
	if err := serve(*addr, *dir); err != nil {
		log.Fatal(err)
	}
}

func serve(addr, dir string) error {
	cert, err := pki.Load(dir, nil, nil, nil)
	if err != nil {
		return err
	}
	server := &http.Server{Addr: addr, TLSConfig: cert.TLS, ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(discard)}
	stop, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	go func() {
		<-stop.Done()
		_ = server.Close() // nothing is under way that anybody misses
	}()
	if err := server.ListenAndServeTLS("", ""); err != http.ErrServerClosed {
		return err
	}
	return nil
}

func discard(w http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
}
