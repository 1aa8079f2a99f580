package placetest

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// The account and the key of a server that StartAzure starts, and the shared access signature that it takes as well.
const (
	AzureAccount = "devstoreaccount1"
	AzureSAS     = "sv=2021-12-02&sp=rwdl&sig=c2lnbmVk"
)

// AzureKey is the account's key.
var AzureKey = base64.StdEncoding.EncodeToString([]byte("a key of thirty-two bytes, secret"))

// azure is what the stand-in for Azure's Blob Storage has beside objects.
type azure struct {
	*ObjectServer
	containers  map[string]bool
	uncommitted map[string]map[string][]byte // blocks by blob and name
	blocks      int                          // that were put
}

// azurePage is how many blobs a page of a list has.
const azurePage = 3

// StartAzure starts a stand-in for Azure's Blob Storage, which stops with the test: what its REST API says of block blobs, of lists
// in pages, of conditions, and of authorization by a shared key or a shared access signature, which it checks. It is ours, not
// Azure's: what Azure itself does otherwise no test here sees. blocks says how many blocks were put.
func StartAzure(t *testing.T) (s *ObjectServer, blocks func() int) {
	t.Helper()
	s = StartObjects(t)
	a := &azure{s, map[string]bool{}, map[string]map[string][]byte{}, 0}
	s.answer = a.serve
	return s, func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return a.blocks
	}
}

func azureError(w http.ResponseWriter, status int, code string) {
	w.Header().Set("x-ms-error-code", code)
	w.WriteHeader(status)
	fmt.Fprintf(w, "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>%s</Code></Error>", code)
}

// serve answers at /<account>/<container>/<blob>, as the emulators of Azure do.
func (a *azure) serve(w http.ResponseWriter, r *http.Request, body []byte) {
	q := r.URL.Query()
	container, blob, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"+AzureAccount+"/"), "/")
	switch {
	case r.Header.Get("x-ms-version") == "":
		azureError(w, http.StatusBadRequest, "MissingRequiredHeader")
	case !azureAllowed(r):
		azureError(w, http.StatusForbidden, "AuthenticationFailed")
	case q.Get("restype") == "container" && r.Method == http.MethodPut:
		if a.containers[container] {
			azureError(w, http.StatusConflict, "ContainerAlreadyExists")
			return
		}
		a.containers[container] = true
		w.WriteHeader(http.StatusCreated)
	case !a.containers[container]:
		azureError(w, http.StatusNotFound, "ContainerNotFound")
	case q.Get("restype") == "container" && q.Get("comp") == "list":
		a.list(w, r.URL.Path+"/", q)
	case blob == "":
		azureError(w, http.StatusBadRequest, "InvalidUri")
	default:
		a.blob(w, r, body)
	}
}

func (a *azure) blob(w http.ResponseWriter, r *http.Request, body []byte) {
	name, q := r.URL.Path, r.URL.Query()
	data, there := a.objects[name]
	blocks := a.uncommitted[name]
	switch comp := q.Get("comp"); {
	case r.Method == http.MethodPut && comp == "block":
		id, err := base64.StdEncoding.DecodeString(q.Get("blockid"))
		if err != nil || len(id) == 0 || len(id) > 64 {
			azureError(w, http.StatusBadRequest, "InvalidQueryParameterValue")
			return
		}
		for other := range blocks {
			if len(other) != len(q.Get("blockid")) { // "all block IDs must be the same length"
				azureError(w, http.StatusBadRequest, "InvalidBlobOrBlock")
				return
			}
		}
		if blocks == nil {
			blocks = map[string][]byte{}
			a.uncommitted[name] = blocks
		}
		blocks[q.Get("blockid")] = body
		a.blocks++
		a.stored += int64(len(body))
		w.WriteHeader(http.StatusCreated)
	case r.Method == http.MethodGet && comp == "blocklist":
		if !there && blocks == nil {
			azureError(w, http.StatusNotFound, "BlobNotFound")
			return
		}
		fmt.Fprint(w, xml.Header+"<BlockList><UncommittedBlocks>")
		for _, id := range slices.Sorted(maps.Keys(blocks)) {
			fmt.Fprintf(w, "<Block><Name>%s</Name><Size>%d</Size></Block>", id, len(blocks[id]))
		}
		fmt.Fprint(w, "</UncommittedBlocks></BlockList>")
	case r.Method == http.MethodPut && !azureCondition(r, data, there):
		code, status := "ConditionNotMet", http.StatusPreconditionFailed
		if r.Header.Get("If-None-Match") == "*" {
			code, status = "BlobAlreadyExists", http.StatusConflict
		}
		azureError(w, status, code)
	case r.Method == http.MethodPut && comp == "blocklist":
		var list struct{ Latest []string }
		if xml.Unmarshal(body, &list) != nil {
			azureError(w, http.StatusBadRequest, "InvalidXmlDocument")
			return
		}
		var all []byte
		for _, id := range list.Latest {
			block, ok := blocks[id]
			if !ok {
				azureError(w, http.StatusBadRequest, "InvalidBlockList")
				return
			}
			all = append(all, block...)
		}
		before := a.stored
		a.put(name, all)
		a.stored = before // its blocks were counted
		delete(a.uncommitted, name)
		w.Header().Set("ETag", etag(all))
		w.WriteHeader(http.StatusCreated)
	case r.Method == http.MethodPut:
		if r.Header.Get("x-ms-blob-type") != "BlockBlob" {
			azureError(w, http.StatusBadRequest, "MissingRequiredHeader")
			return
		}
		a.put(name, body)
		w.Header().Set("ETag", etag(body))
		w.WriteHeader(http.StatusCreated)
	case !there:
		azureError(w, http.StatusNotFound, "BlobNotFound")
	case r.Method == http.MethodDelete:
		delete(a.objects, name)
		w.WriteHeader(http.StatusAccepted)
	default:
		a.give(w, r, name)
	}
}

// azureCondition says whether the conditions of a request hold.
func azureCondition(r *http.Request, data []byte, there bool) bool {
	if r.Header.Get("If-None-Match") == "*" {
		return !there
	}
	match := r.Header.Get("If-Match")
	return match == "" || there && match == etag(data)
}

// list answers List Blobs, a page at a time.
func (a *azure) list(w http.ResponseWriter, under string, q url.Values) {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(a.objects)) {
		if key, ok := strings.CutPrefix(name, under); ok && strings.HasPrefix(key, q.Get("prefix")) && key > q.Get("marker") {
			names = append(names, key)
		}
	}
	fmt.Fprint(w, xml.Header+"<EnumerationResults><Blobs>")
	for _, key := range names[:min(len(names), azurePage)] {
		data := a.objects[under+key]
		fmt.Fprint(w, "<Blob><Name>")
		_ = xml.EscapeText(w, []byte(key))
		fmt.Fprintf(w, "</Name><Properties><Last-Modified>%s</Last-Modified><Etag>%s</Etag><Content-Length>%d</Content-Length></Properties></Blob>",
			a.written[under+key].UTC().Format(http.TimeFormat), strings.Trim(etag(data), `"`), len(data))
	}
	fmt.Fprint(w, "</Blobs>")
	if len(names) > azurePage {
		fmt.Fprintf(w, "<NextMarker>%s</NextMarker>", names[azurePage-1])
	}
	fmt.Fprint(w, "</EnumerationResults>")
}

// azureAllowed checks the signature of a request, made again here from what the documentation says of it.
func azureAllowed(r *http.Request) bool {
	given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "SharedKey "+AzureAccount+":")
	if !ok {
		want, _ := url.ParseQuery(AzureSAS)
		return r.URL.Query().Get("sig") == want.Get("sig")
	}
	var b strings.Builder
	fmt.Fprintln(&b, r.Method)
	for _, name := range []string{
		"Content-Encoding", "Content-Language", "Content-Length", "Content-MD5", "Content-Type", "Date", "If-Modified-Since", "If-Match",
		"If-None-Match", "If-Unmodified-Since", "Range",
	} {
		value := r.Header.Get(name)
		if name == "Content-Length" && value == "0" {
			value = "" // from version 2015-02-21 on
		}
		fmt.Fprintln(&b, value)
	}
	for _, name := range slices.SortedFunc(maps.Keys(r.Header), func(x, y string) int { return cmp.Compare(strings.ToLower(x), strings.ToLower(y)) }) {
		if strings.HasPrefix(name, "X-Ms-") {
			fmt.Fprintf(&b, "%s:%s\n", strings.ToLower(name), r.Header.Get(name))
		}
	}
	fmt.Fprintf(&b, "/%s%s", AzureAccount, r.URL.EscapedPath())
	q := r.URL.Query()
	for _, name := range slices.Sorted(maps.Keys(q)) {
		fmt.Fprintf(&b, "\n%s:%s", name, q.Get(name))
	}
	key, _ := base64.StdEncoding.DecodeString(AzureKey)
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(b.String()))
	want := base64.StdEncoding.EncodeToString(mac.Sum(nil))
	return hmac.Equal([]byte(given), []byte(want))
}
