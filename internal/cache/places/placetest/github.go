package placetest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// GitHubToken is the token that a server takes which StartGitHub starts.
const GitHubToken = "a-runtime-token"

// github is what the stand-in for GitHub's cache service has beside the blobs.
type github struct {
	*azure
	entries []*githubEntry // in the order in which they were made
}

type githubEntry struct {
	key, version string
	finished     bool
}

// StartGitHub starts a stand-in for version 2 of GitHub's cache service, which stops with the test: what actions/cache asks of it,
// by Twirp, and the signed URLs of Azure that it gives. It is ours, not GitHub's: limits, scopes and what GitHub evicts no test here
// sees.
func StartGitHub(t *testing.T) *ObjectServer {
	t.Helper()
	s := StartObjects(t)
	g := &github{azure: &azure{s, map[string]bool{"results": true}, map[string]map[string][]byte{}, 0}}
	s.answer = g.serve
	return s
}

func (g *github) serve(w http.ResponseWriter, r *http.Request, body []byte) {
	method, ok := strings.CutPrefix(r.URL.Path, "/twirp/github.actions.results.api.v1.CacheService/")
	if !ok {
		if r.URL.Query().Get("sig") == "" || r.Header.Get("x-ms-version") == "" || r.Header.Get("Authorization") != "" {
			azureError(w, http.StatusForbidden, "AuthenticationFailed")
			return
		}
		g.blob(w, r, body)
		return
	}
	var in struct {
		Key     string   `json:"key"`
		Restore []string `json:"restore_keys"`
		Version string   `json:"version"`
		Size    string   `json:"size_bytes"`
	}
	switch {
	case r.Header.Get("Authorization") != "Bearer "+GitHubToken:
		twirp(w, http.StatusUnauthorized, map[string]any{"code": "unauthenticated", "msg": "bad token"})
	case r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" || json.Unmarshal(body, &in) != nil:
		twirp(w, http.StatusBadRequest, map[string]any{"code": "malformed", "msg": "no JSON"})
	case in.Key == "" || len(in.Key) > 512 || strings.Contains(in.Key, ","):
		twirp(w, http.StatusBadRequest, map[string]any{"code": "invalid_argument", "msg": "bad key"})
	case method == "CreateCacheEntry":
		if g.entry(in.Key, in.Version) != nil {
			twirp(w, http.StatusConflict, map[string]any{"code": "already_exists", "msg": "cache entry with the same key already exists"})
			return
		}
		g.entries = append(g.entries, &githubEntry{key: in.Key, version: in.Version})
		twirp(w, http.StatusOK, map[string]any{"ok": true, "signed_upload_url": g.signed(in.Key)})
	case method == "FinalizeCacheEntryUpload":
		e, data := g.entry(in.Key, in.Version), g.objects["/results/"+in.Key]
		if e == nil || in.Size != fmt.Sprint(len(data)) {
			twirp(w, http.StatusOK, map[string]any{"ok": false})
			return
		}
		e.finished = true
		twirp(w, http.StatusOK, map[string]any{"ok": true, "entry_id": "1"})
	case method == "GetCacheEntryDownloadURL":
		if e := g.newest(in.Key, in.Restore, in.Version); e != nil {
			twirp(w, http.StatusOK, map[string]any{"ok": true, "signed_download_url": g.signed(e.key), "matched_key": e.key})
			return
		}
		twirp(w, http.StatusOK, map[string]any{"ok": false, "signed_download_url": "", "matched_key": ""})
	default:
		twirp(w, http.StatusNotFound, map[string]any{"code": "bad_route", "msg": method})
	}
}

func twirp(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// signed is a URL of the blob of a key.
func (g *github) signed(key string) string {
	return g.URL + "/results/" + strings.ReplaceAll(key, "#", "%23") + "?" + AzureSAS
}

func (g *github) entry(key, version string) *githubEntry {
	for _, e := range g.entries {
		if e.key == key && e.version == version {
			return e
		}
	}
	return nil
}

// newest is the finished entry of a key, or else the newest one whose key begins with one of the others.
func (g *github) newest(key string, restore []string, version string) *githubEntry {
	if e := g.entry(key, version); e != nil && e.finished {
		return e
	}
	for _, prefix := range restore {
		for i := len(g.entries) - 1; i >= 0; i-- {
			if e := g.entries[i]; e.finished && e.version == version && strings.HasPrefix(e.key, prefix) {
				return e
			}
		}
	}
	return nil
}
