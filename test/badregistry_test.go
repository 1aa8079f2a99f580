package test

import (
	"bytes"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/rogpeppe/go-internal/testscript"
)

// faults are the ways in which a registry with one image, "app:1", can go wrong.
var faults = map[string]func(http.Handler) http.Handler{
	"unauthorized": answer(http.StatusUnauthorized),
	"broken":       answer(http.StatusInternalServerError),
	"cut":          onBlobs(cut),
	"altered":      onBlobs(altered),
	"denied":       onUploads(http.MethodPost, denied),
	"breaking":     onUploads(http.MethodPatch, breaking),
	"hanging":      onUploads(http.MethodPatch, hanging),
	"frozen":       func(http.Handler) http.Handler { return http.HandlerFunc(hanging) },
}

// badRegistry FAULT starts a registry that has the image app:1 and the fault, and sets BAD to its address.
func badRegistry(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 || faults[args[0]] == nil {
		ts.Fatalf("usage: badregistry unauthorized|broken|cut|altered|denied|breaking|hanging|frozen")
	}
	good := ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))
	var faulty http.Handler
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if faulty != nil {
			faulty.ServeHTTP(w, r)
			return
		}
		good.ServeHTTP(w, r)
	}))
	ts.Defer(server.Close)
	address := strings.TrimPrefix(server.URL, "http://")
	tag, err := name.NewTag(address+"/app:1", name.Insecure)
	ts.Check(err)
	image, err := random.Image(64<<10, 2)
	ts.Check(err)
	ts.Check(remote.Write(tag, image))
	faulty = faults[args[0]](good)
	ts.Setenv("BAD", address)
}

func answer(status int) func(http.Handler) http.Handler {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if status == http.StatusUnauthorized {
				w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			}
			http.Error(w, `{"errors":[]}`, status)
		})
	}
}

// onBlobs changes the answer to every GET of a layer's blob, and leaves configs, which are JSON, as they are.
func onBlobs(change func(http.ResponseWriter, *http.Request, []byte)) func(http.Handler) http.Handler {
	return func(good http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/sha256:") {
				good.ServeHTTP(w, r)
				return
			}
			whole := r.Clone(r.Context())
			whole.Header.Del("Range")
			recorder := httptest.NewRecorder()
			good.ServeHTTP(recorder, whole)
			if blob := recorder.Body.Bytes(); bytes.HasPrefix(blob, []byte("{")) {
				w.Write(blob)
			} else {
				change(w, r, blob)
			}
		})
	}
}

// onUploads answers the requests of uploads that have a method.
func onUploads(method string, answer http.HandlerFunc) func(http.Handler) http.Handler {
	return func(good http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == method && strings.Contains(r.URL.Path, "/blobs/uploads") {
				answer(w, r)
				return
			}
			good.ServeHTTP(w, r)
		})
	}
}

func denied(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, `{"errors":[{"code":"DENIED","message":"not in this project"}]}`, http.StatusForbidden)
}

// breaking fails in the middle of an upload.
func breaking(w http.ResponseWriter, r *http.Request) {
	io.CopyN(io.Discard, r.Body, 1<<20)
	http.Error(w, `{"errors":[]}`, http.StatusInternalServerError)
}

// hanging takes the bytes of an upload, and does not answer for as long as the client waits.
func hanging(_ http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

// cut promises all that was asked for and closes the connection in the middle, each time: a client that resumes
// gets half of the rest.
func cut(w http.ResponseWriter, r *http.Request, blob []byte) {
	recorder := httptest.NewRecorder()
	http.ServeContent(recorder, r, "", time.Time{}, bytes.NewReader(blob))
	maps.Copy(w.Header(), recorder.Header())
	w.WriteHeader(recorder.Code)
	w.Write(recorder.Body.Bytes()[:recorder.Body.Len()/2])
	panic(http.ErrAbortHandler)
}

// altered changes one byte of the blob.
func altered(w http.ResponseWriter, _ *http.Request, blob []byte) {
	blob = bytes.Clone(blob)
	blob[len(blob)/2] ^= 1
	w.Write(blob)
}
