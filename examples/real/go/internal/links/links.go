// Package links keeps addresses under short names.
package links

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/google/uuid"
)

// Handler serves an empty collection of links.
func Handler(version string) http.Handler {
	var links sync.Map
	r := chi.NewRouter()
	r.Use(middleware.Recoverer)
	r.Get("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	r.Get("/version", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, version) })
	r.Post("/", func(w http.ResponseWriter, r *http.Request) {
		put(w, r, &links, uuid.NewString()[:8])
	})
	r.Put("/{name}", func(w http.ResponseWriter, r *http.Request) {
		put(w, r, &links, chi.URLParam(r, "name"))
	})
	r.Get("/{name}", func(w http.ResponseWriter, r *http.Request) {
		address, ok := links.Load(chi.URLParam(r, "name"))
		if !ok {
			http.NotFound(w, r)
			return
		}
		http.Redirect(w, r, address.(string), http.StatusFound)
	})
	return r
}

func put(w http.ResponseWriter, r *http.Request, links *sync.Map, name string) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 4096))
	if err != nil {
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	address, err := url.ParseRequestURI(string(body))
	if err != nil || address.Host == "" {
		http.Error(w, "the body is no address", http.StatusBadRequest)
		return
	}
	links.Store(name, address.String())
	w.WriteHeader(http.StatusCreated)
	fmt.Fprintf(w, "/%s\n", name)
}
