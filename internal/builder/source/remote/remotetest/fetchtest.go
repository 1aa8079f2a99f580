// Package remotetest stands in for the servers that package remote asks: one of files, which can be told how to behave,
// and one of git repositories.
package remotetest

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/cgi"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// Answer is what a Server says to a GET of a path.
type Answer struct {
	Body        string
	ETag        string    // with its quotes; "" sends none
	Modified    time.Time // the zero time sends no Last-Modified
	Date        time.Time // the server's clock; the zero time is the machine's
	Disposition string
	// Type is the Content-Type, "" for what the body looks like.
	Type string
	// Status answers with an error instead.
	Status int
	// Cut breaks the connection off after so many bytes, once.
	Cut int
	// Deaf ignores conditions and ranges.
	Deaf bool
	// Redirect sends the client elsewhere.
	Redirect string
	// Bearer is the token that the server wants.
	Bearer string
}

// Server is a http.Handler that remembers what it was asked.
type Server struct {
	mu      sync.Mutex
	answers map[string]*Answer
	log     []string
}

// Set says what the server has at a path from now on.
func (s *Server) Set(path string, a Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.answers == nil {
		s.answers = map[string]*Answer{}
	}
	s.answers[path] = &a
}

// Requests gives one line for each request since it was last called: method, path, status, and how many bytes of the
// body were sent.
func (s *Server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	log := s.log
	s.log = nil
	return log
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rec := &recorder{ResponseWriter: w, status: http.StatusOK}
	defer func() {
		s.log = append(s.log, fmt.Sprintf("%s %s %d %d", r.Method, r.URL.Path, rec.status, rec.sent))
	}()
	a := s.answers[r.URL.Path]
	switch {
	case a == nil:
		http.NotFound(rec, r)
		return
	case a.Bearer != "" && r.Header.Get("Authorization") != "Bearer "+a.Bearer:
		http.Error(rec, "who are you?", http.StatusUnauthorized)
		return
	case a.Status != 0:
		http.Error(rec, "no", a.Status)
		return
	case a.Redirect != "":
		http.Redirect(rec, r, a.Redirect, http.StatusFound)
		return
	}
	for name, value := range map[string]string{"ETag": a.ETag, "Content-Disposition": a.Disposition, "Content-Type": a.Type} {
		if value != "" {
			rec.Header().Set(name, value)
		}
	}
	if !a.Date.IsZero() {
		rec.Header().Set("Date", a.Date.UTC().Format(http.TimeFormat))
	}
	if a.Deaf {
		r.Header = http.Header{}
	}
	if a.Cut > 0 {
		rec.cut, a.Cut = a.Cut, 0
	}
	http.ServeContent(rec, r, "", a.Modified, bytes.NewReader([]byte(a.Body)))
}

// recorder counts, and breaks off.
type recorder struct {
	http.ResponseWriter
	status, sent, cut int
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(p []byte) (int, error) {
	if r.cut > 0 && r.sent+len(p) > r.cut {
		n, _ := r.ResponseWriter.Write(p[:r.cut-r.sent])
		r.sent += n
		r.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	n, err := r.ResponseWriter.Write(p)
	r.sent += n
	return n, err
}

// Git is a http.Handler that serves the repositories below a directory, by git's own http-backend(1), and remembers
// what it was asked.
type Git struct {
	Dir string
	// Password, if set, is what it wants of everybody (basic authentication, any user).
	Password string
	// Old makes it speak the protocol of before 2018, which gives no commit that no ref names.
	Old bool

	mu  sync.Mutex
	log []string
}

// Requests gives a line for each request since it was last called: the path and the service.
func (g *Git) Requests() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	log := g.log
	g.log = nil
	return log
}

// Packs is how many packs were asked for since Requests was last called.
func (g *Git) Packs() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return strings.Count(strings.Join(g.log, "\n"), "fetch")
}

// ServeHTTP implements http.Handler.
func (g *Git) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if _, password, _ := r.BasicAuth(); g.Password != "" && password != g.Password {
		w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
		http.Error(w, "who are you?", http.StatusUnauthorized)
		return
	}
	var body bytes.Buffer
	if _, err := body.ReadFrom(r.Body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	what := r.URL.Path
	for _, command := range []string{"ls-refs", "fetch"} {
		if strings.Contains(body.String(), "command="+command) {
			what += " " + command
		}
	}
	g.mu.Lock()
	g.log = append(g.log, what)
	g.mu.Unlock()
	r.Body = &buffer{bytes.NewReader(body.Bytes())}
	r.ContentLength = int64(body.Len())
	protocol := r.Header.Get("Git-Protocol")
	if g.Old {
		r.Header.Del("Git-Protocol") // the backend looks at it too
		protocol = ""
	}
	backend, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		http.Error(w, "no git", http.StatusInternalServerError)
		return
	}
	handler := &cgi.Handler{
		Path: strings.TrimSpace(string(backend)) + "/git-http-backend",
		Env: []string{
			"GIT_PROJECT_ROOT=" + g.Dir, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
			"GIT_PROTOCOL=" + protocol,
			"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
		},
	}
	handler.ServeHTTP(w, r)
}

type buffer struct{ *bytes.Reader }

func (*buffer) Close() error { return nil }

// Make makes a repository at dir by running a shell script in it, between git init and the end; the script commits.
// Times and names are always the same, so commits are too.
func Make(dir, script string) error {
	const begin = `set -e
git init --quiet --template= -b main .
git config http.uploadpack true
`
	return Change(dir, begin+script)
}

// Change runs a shell script in a repository.
func Change(dir, script string) error {
	cmd := exec.Command("sh", "-ec", script)
	cmd.Dir = dir
	cmd.Env = []string{
		"PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME=/nonexistent", "GIT_CONFIG_NOSYSTEM=1", "GIT_ALLOW_PROTOCOL=file:http",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.org",
		"GIT_AUTHOR_DATE=2021-03-04T05:06:07Z", "GIT_COMMITTER_DATE=2021-03-04T05:06:07Z",
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}
