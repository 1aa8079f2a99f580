package page

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/strata-build/strata/internal/store"
)

// Server gives pages to whoever knows its address.
//
// The address holds a token of 128 random bits, and is no site's but the person's: without it nothing is answered
// but a refusal. A cookie would not do, since all ports of a machine share them. That a name of somebody else's
// leads here (DNS rebinding) is seen by the Host header, that another site's page asks by Origin and
// Sec-Fetch-Site.
type Server struct {
	gallery  *gallery
	listener net.Listener
	token    string
	hosts    []string // that a browser may call this machine
	mux      *http.ServeMux
	closing  context.Context // done when the server ends, for answers that have no end
}

// Listen opens the image that the person named, and a free port of this machine's loopback interface.
func Listen(ctx context.Context, o Options) (*Server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("opening a port for the page: %w; strata page -o FILE.html needs none", err)
	}
	secret := make([]byte, 16)
	rand.Read(secret) // never fails (crypto/rand)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	s := &Server{
		gallery: newGallery(o), listener: l, token: base64.RawURLEncoding.EncodeToString(secret),
		hosts: []string{"127.0.0.1:" + port, "localhost:" + port}, mux: http.NewServeMux(), closing: context.Background(),
	}
	s.route()
	go assets() // while the image is opened
	if o.Image != "" {
		if _, err := s.gallery.open(ctx, o.Image); err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	return s, nil
}

// Address is where the pages are, with the token.
func (s *Server) Address() string { return "http://" + s.hosts[0] + "/" + s.token + "/" }

// Serve answers until ctx is done. Then it returns nil.
func (s *Server) Serve(ctx context.Context) error {
	defer s.gallery.close()
	s.closing = ctx
	h := &http.Server{
		Handler: s, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	stop := context.AfterFunc(ctx, func() { h.Close() })
	defer stop()
	if err := h.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving the page: %w", err)
	}
	return nil
}

// ServeHTTP refuses what is not the person's browser, and answers the rest.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	setHeaders(w.Header())
	if reason := s.refuses(r); reason != "" {
		http.Error(w, "strata page: "+reason, http.StatusForbidden)
		return
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost:
	default:
		http.Error(w, "strata page: it answers GET, and POST where something is to be fetched or changed", http.StatusMethodNotAllowed)
		return
	}
	http.StripPrefix("/"+s.token, s.mux).ServeHTTP(w, r)
}

// setHeaders sets what holds for all answers: nothing of them runs or is framed, kept, or read by another site.
func setHeaders(h http.Header) {
	h.Set("Content-Security-Policy", assets().policy+"; connect-src 'self'; form-action 'self'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// refuses says why a request is not answered, "" if it is.
func (s *Server) refuses(r *http.Request) string {
	known := false
	for _, host := range s.hosts {
		known = known || r.Host == host
	}
	if !known {
		return "it is not served under the name " + strconv.QuoteToASCII(r.Host) + "; open the address that strata page printed"
	}
	given, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if subtle.ConstantTimeCompare([]byte(given), []byte(s.token)) != 1 {
		return "the address lacks its token; open the one that strata page printed"
	}
	site := r.Header.Get("Sec-Fetch-Site")
	// Forms of a page whose policy is no-referrer come from "null" (Fetch, "append a request Origin header").
	if origin := r.Header.Get("Origin"); origin != "" && origin != "http://"+r.Host && (origin != "null" || site != "same-origin") {
		return "another site's page asked for it"
	}
	// What a person follows from elsewhere, as from a terminal in a browser, is a whole page that no site can read.
	followed := r.Method == http.MethodGet && r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document"
	if (site == "cross-site" || site == "same-site") && !followed {
		return "another site's page asked for it"
	}
	if r.Method == http.MethodPost && r.Header.Get("Origin") == "" && site == "" {
		return "a form must say where it comes from"
	}
	return ""
}

// route says which address is answered by what.
func (s *Server) route() {
	page := func(pattern string, answer func(*http.Request) (*document, error)) {
		s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			d, err := answer(r)
			if err != nil {
				s.fail(w, r, err)
				return
			}
			d.Server = s
			d.write(w, http.StatusOK, r.Header.Get("X-Part") != "")
		})
	}
	page("GET /{$}", s.home)
	page("GET /image", s.image)
	page("GET /file", s.file)
	page("GET /files", s.files)
	page("GET /bytes", s.bytes)
	page("GET /settings", s.configPage)
	page("GET /compare", s.comparePage)
	page("GET /patch", s.patchPage)
	page("GET /images", s.images)
	page("GET /packages", s.packagesPage)
	page("GET /vulnerabilities", s.vulnerabilitiesPage)
	page("GET /row-packages", s.rowPackages)
	page("GET /builds", s.builds)
	page("GET /build", s.build)
	page("GET /log", s.log)
	s.mux.HandleFunc("GET /follow", s.follow)
	s.mux.HandleFunc("GET /raw", s.raw)
	s.mux.HandleFunc("GET /table", s.table)
	s.mux.HandleFunc("GET /marks", s.rowMarks)
	s.mux.HandleFunc("POST /fetch", s.fetch)
	if s.gallery.Changes {
		page("GET /change", s.ask)
		page("POST /change", s.change)
	}
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, &fs.PathError{Op: "open", Path: r.URL.Path, Err: fs.ErrNotExist})
	})
}

// usage is an error in an address.
type usage string

func (e usage) Error() string { return string(e) }

// fail answers with an error.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	status := http.StatusInternalServerError
	var mistake usage
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, store.ErrNotFound), errors.Is(err, errUnknown):
		status = http.StatusNotFound
	case errors.As(err, &mistake):
		status = http.StatusBadRequest
	}
	d := &document{Server: s, Title: http.StatusText(status), View: "error", Data: s.gallery.Mover.Store.Explain(err).Error()}
	d.write(w, status, r.Header.Get("X-Part") != "")
}

// home is the image that the person named, else all images.
func (s *Server) home(r *http.Request) (*document, error) {
	if s.gallery.Image != "" {
		return s.imageNamed(r, s.gallery.Image)
	}
	return s.images(r)
}

func (s *Server) image(r *http.Request) (*document, error) {
	return s.imageNamed(r, r.FormValue("image"))
}

// imageNamed is the list of an image's rows and one row, the last unless the address says which.
func (s *Server) imageNamed(r *http.Request, text string) (*document, error) {
	o, err := s.gallery.open(r.Context(), text)
	if err != nil {
		return nil, err
	}
	selected, err := number(r, "row", o.firstSelected(), len(o.im.Rows)-1)
	if err != nil {
		return nil, err
	}
	from, err := number(r, "from", 0, len(o.order))
	if err != nil {
		return nil, err
	}
	d, err := s.gallery.newDetail(r.Context(), o, selected, from, patience)
	if err != nil {
		return nil, err
	}
	if r.Header.Get("X-Part") != "" {
		return &document{Title: text, View: "detail", Data: d}, nil
	}
	o.mu.Lock()
	known := o.vulnerable
	o.mu.Unlock()
	v := newImageView(o, selected, known)
	v.Details = []*detail{d}
	return &document{Title: text, View: "image", Tab: "image", Image: &v.header, Data: v}, nil
}

// number reads a number of an address, from 0 to most.
func number(r *http.Request, name string, without, most int) (int, error) {
	text := r.FormValue(name)
	if text == "" {
		return without, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > most {
		return 0, usage(fmt.Sprintf("%s=%q: it is a number from 0 to %d", name, text, most))
	}
	return n, nil
}

// table answers with all paths of an image, for the script.
func (s *Server) table(w http.ResponseWriter, r *http.Request) {
	o, err := s.gallery.open(r.Context(), r.FormValue("image"))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	data, err := o.compressed()
	if err != nil {
		s.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Encoding", "gzip")
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.Write(data)
}

// fetch brings a layer that is in a registry, and goes back to its row.
func (s *Server) fetch(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	o, err := s.gallery.open(r.Context(), r.FormValue("image"))
	if err == nil {
		var row int
		row, err = number(r, "row", 0, len(o.im.Rows)-1)
		if err == nil {
			err = o.fetch(r.Context(), o.im.Rows[row].Layer)
		}
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	// Relative: http.Redirect would take the path without the token for the whole one.
	w.Header().Set("Location", address("image", "image", r.FormValue("image"), "row", r.FormValue("row")))
	w.WriteHeader(http.StatusSeeOther)
}
