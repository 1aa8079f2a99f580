package page

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/strata-build/strata/internal/builder/explain"
)

// post sends the form of an address.
func post(t *testing.T, s *Server, path string, form url.Values, header ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.Address()+path, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return send(t, r, header...)
}

// formOf reads what a page's form would send.
func formOf(t *testing.T, page string) url.Values {
	t.Helper()
	root, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	form := url.Values{}
	for n := range root.Descendants() {
		if n.Data != "input" {
			continue
		}
		attributes := map[string]string{}
		for _, a := range n.Attr {
			attributes[a.Key] = a.Val
		}
		form.Set(attributes["name"], attributes["value"])
	}
	return form
}

func TestChange(t *testing.T) {
	s := serveWith(t, Options{Changes: true}, small(t))
	st := s.gallery.Mover.Store
	if err := explain.Save(st, &explain.Build{ID: "ab01", Started: time.Now()}, nil); err != nil {
		t.Fatal(err)
	}
	own := "http://" + s.hosts[0]
	// confirmed asks, sends the form with a text where one is typed, and returns what the answer says.
	confirmed := func(text string, pairs ...any) (*http.Response, string) {
		t.Helper()
		a, body := ask(t, s, at("change", pairs...))
		if a.StatusCode != http.StatusOK {
			t.Fatalf("%v: %s\n%s", pairs, a.Status, body)
		}
		form := formOf(t, body)
		form.Set("text", text)
		if a, _ := post(t, s, "change", form); a.StatusCode != http.StatusForbidden {
			t.Errorf("%v without an origin: %s", pairs, a.Status)
		}
		if a, _ := post(t, s, "change", form, "Origin", "https://evil.example"); a.StatusCode != http.StatusForbidden {
			t.Errorf("%v from another site: %s", pairs, a.Status)
		}
		a, body = post(t, s, "change", form, "Origin", own)
		checkHeaders(t, a)
		return a, body
	}
	says := func(a *http.Response, body string) func(wants ...string) {
		return func(wants ...string) {
			t.Helper()
			for _, want := range wants {
				if a.StatusCode != http.StatusOK || !strings.Contains(body, want) {
					t.Errorf("%s, without %q:\n%s", a.Status, want, body)
				}
			}
		}
	}
	_, list := ask(t, s, "images")
	for _, want := range []string{"change?do=tag&amp;subject=me%2Fapp%3A1", "change?do=remove&amp;subject=me%2Fapp%3A1", "change?do=prune"} {
		if !strings.Contains(list, want) {
			t.Errorf("the list of images lacks %s", want)
		}
	}
	says(confirmed("me/other:2", "do", tagImage, "subject", name))("has the name me/other:2")
	if _, err := st.Resolve("me/other:2"); err != nil {
		t.Error(err)
	}
	if a, body := confirmed("Not A Name", "do", tagImage, "subject", name); a.StatusCode != http.StatusBadRequest || !strings.Contains(body, "is not an image name") {
		t.Errorf("%s: %s", a.Status, body)
	}
	// An image with names of several repositories is not removed by its ID, and that is not asked either.
	_, id, err := st.ByName(name)
	if err != nil {
		t.Fatal(err)
	}
	if a, body := ask(t, s, at("change", "do", removeImage, "subject", string(id))); a.StatusCode != http.StatusBadRequest || !strings.Contains(body, "has several names") {
		t.Errorf("%s: %s", a.Status, body)
	}
	says(confirmed("", "do", removeImage, "subject", "me/other:2"))("The name me/other:2 is removed")
	// A name without a tag is that of latest.
	says(confirmed("me/app", "do", tagImage, "subject", name))("has the name me/app")
	says(ask(t, s, at("change", "do", removeImage, "subject", "me/app")))("Remove the name me/app?")
	says(confirmed("", "do", removeImage, "subject", "me/app"))("The name me/app:latest is removed")

	// A name that means another image than the person saw stays.
	_, body := ask(t, s, at("change", "do", removeImage, "subject", name))
	form := formOf(t, body)
	form.Set("id", "sha256:"+strings.Repeat("0", 64))
	if a, _ := post(t, s, "change", form, "Origin", own); a.StatusCode != http.StatusBadRequest {
		t.Error(a.Status)
	}
	says(confirmed("", "do", removeImage, "subject", name))("The name me/app:1 is removed", "went with it")
	if a, _ := ask(t, s, at("change", "do", removeImage, "subject", name)); a.StatusCode != http.StatusNotFound {
		t.Error(a.Status)
	}

	says(confirmed("", "do", pruneCache))("were removed")
	_, list = ask(t, s, "builds")
	if !strings.Contains(list, "change?do=forget&amp;subject=ab01") {
		t.Error(list)
	}
	says(confirmed("", "do", forgetBuild, "subject", "ab01"))("Build ab01 is forgotten")
	if _, err := st.BuildByID("ab01"); err == nil {
		t.Error("it is remembered")
	}
	says(confirmed("", "do", forgetBuilds))("forgotten")
	if a, _ := ask(t, s, at("change", "do", "format", "subject", "disk")); a.StatusCode != http.StatusBadRequest {
		t.Error(a.Status)
	}
}

// Without --allow-changes nothing can be changed, and nothing leads there.
func TestChangesAreOff(t *testing.T) {
	s := serve(t, small(t))
	if a, _ := ask(t, s, at("change", "do", pruneCache)); a.StatusCode != http.StatusNotFound {
		t.Error(a.Status)
	}
	form := url.Values{"do": {removeImage}, "subject": {name}, "id": {string(s.gallery.named.im.ID)}}
	if a, _ := post(t, s, "change", form, "Origin", "http://"+s.hosts[0]); a.StatusCode != http.StatusNotFound {
		t.Error(a.Status)
	}
	for _, view := range []string{"", "images", "builds"} {
		if _, body := ask(t, s, view); strings.Contains(body, "change?") {
			t.Errorf("%s leads to a change", view)
		}
	}
	if _, err := s.gallery.Mover.Store.Resolve(name); err != nil {
		t.Error(err)
	}
}
