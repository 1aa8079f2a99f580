package metrics

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

// Handler answers with the set: as OpenMetrics to who accepts that, as Prometheus does, and to others as Text.
func (s *Set) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		form := Text
		if strings.Contains(r.Header.Get("Accept"), "application/openmetrics-text") {
			form = OpenMetrics
		}
		w.Header().Set("Content-Type", form.ContentType)
		w.Write(s.Write(form))
	})
}

// Serve answers at an address, such as localhost:9464 or :9464, until ctx ends. It returns the address once it listens
// there, which tells the port where it was 0. What is served, for GET only and without any secret:
//
//	/metrics  the set
//	/healthz  200 as long as the process answers, for a liveness probe
//	/readyz   200 while ready returns nil, else 503 and its error, for a readiness probe; ready may be nil
func Serve(ctx context.Context, address string, s *Set, ready func() error) (net.Addr, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("serving metrics at %s: %w; give another address, as HOST:PORT", address, err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", s.Handler())
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if ready != nil {
			if err := ready(); err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
				return
			}
		}
		fmt.Fprintln(w, "ok")
	})
	server := &http.Server{
		Handler: mux, ReadHeaderTimeout: 10 * time.Second, WriteTimeout: time.Minute, IdleTimeout: 5 * time.Minute,
		MaxHeaderBytes: 64 << 10,
	}
	context.AfterFunc(ctx, func() { server.Close() })
	go server.Serve(listener)
	return listener.Addr(), nil
}
