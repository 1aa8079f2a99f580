package links

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestLinks(t *testing.T) {
	handler := Handler("test")
	do := func(method, path, body string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
		return w
	}
	if got := do("PUT", "/go", "no address").Code; got != http.StatusBadRequest {
		t.Errorf("PUT of no address: %d", got)
	}
	if got := do("PUT", "/go", "https://go.dev/doc").Code; got != http.StatusCreated {
		t.Errorf("PUT: %d", got)
	}
	if got := do("GET", "/go", "").Header().Get("Location"); got != "https://go.dev/doc" {
		t.Errorf("GET leads to %q", got)
	}
	if got := do("GET", "/nothing", "").Code; got != http.StatusNotFound {
		t.Errorf("GET of nothing: %d", got)
	}
}
