package page

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"

	"github.com/strata-build/strata/internal/builder/explain"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/look/anatomy/anatomytest"
	"github.com/strata-build/strata/internal/transfer/archive"
)

const name = "me/app:1"

// serve serves images, of which the first is named.
func serve(t *testing.T, images ...archive.Source) *Server {
	t.Helper()
	return serveWith(t, Options{Version: "1"}, images...)
}

// serveWith is serve with some options.
func serveWith(t *testing.T, o Options, images ...archive.Source) *Server {
	t.Helper()
	o.Mover, o.Image = anatomytest.Mover(t), images[0].Names[0]
	anatomytest.Load(t, o.Mover, anatomytest.Save(t, images...))
	s, err := Listen(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Serve(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

func small(t *testing.T) archive.Source {
	return anatomytest.Image(t, name,
		anatomytest.Tar(t, "etc/", "etc/passwd=root", "usr/", "usr/big="+strings.Repeat("x", 5000), "usr/link~>big"),
		anatomytest.Tar(t, "etc/", "etc/passwd=root\nme", "app/", "app/main.py=print()\n"),
		anatomytest.Tar(t, "usr/", "usr/.wh.big="))
}

// ask asks for an address, below the token.
func ask(t *testing.T, s *Server, path string, header ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.Address()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return send(t, r, header...)
}

func send(t *testing.T, r *http.Request, header ...string) (*http.Response, string) {
	t.Helper()
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
		} else {
			r.Header.Set(header[i], header[i+1])
		}
	}
	client := &http.Client{Transport: &http.Transport{DisableCompression: true}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	a, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	return a, string(body)
}

func at(page string, pairs ...any) string { return address(page, pairs...) }

func TestViews(t *testing.T) {
	s := serve(t, small(t))
	other := at("compare", "image", name, "with", name)
	for _, test := range []struct {
		path string
		want []string
	}{
		{"", []string{"<h1><bdi>me/app:1</bdi></h1>", "3 layers", "COPY", `data-layer="1"`}},
		{at("image", "image", name, "row", 1), []string{`<bdi>COPY layer1 /</bdi>`, "/etc/passwd", "/app/main.py", `class="added"`, `class="changed"`}},
		{at("image", "image", name, "row", 2), []string{"/usr/big", "removed"}},
		{at("image", "image", name, "row", 3), []string{"Configuration", "[&#34;x&#34;]"}},
		{at("files", "image", name), []string{"etc</bdi>/", "app</bdi>/", "By"}},
		{at("bytes", "image", name), []string{"5kB of it wasted", "<svg", "wasted"}},
		{at("packages", "image", name), []string{"No package was found"}},
		{at("settings", "image", name), []string{"CMD"}},
		{other, []string{"No file differs"}},
		{"images", []string{"me/app:1", "Alone"}},
		{"builds", []string{"Nothing was built"}},
	} {
		a, body := ask(t, s, test.path)
		if a.StatusCode != http.StatusOK {
			t.Errorf("%s: %s\n%s", test.path, a.Status, body)
		}
		for _, want := range test.want {
			if !strings.Contains(body, want) {
				t.Errorf("%s lacks %s", test.path, want)
			}
		}
		if _, err := html.Parse(strings.NewReader(body)); err != nil {
			t.Errorf("%s: %v", test.path, err)
		}
	}
}

func TestFile(t *testing.T) {
	s := serve(t, small(t))
	_, body := ask(t, s, at("image", "image", name, "row", 1))
	link := regexp.MustCompile(`href="(file\?[^"]*)"><bdi>/app/main.py`).FindStringSubmatch(body)
	if link == nil {
		t.Fatal(body)
	}
	path := html.UnescapeString(link[1])
	_, body = ask(t, s, path)
	for _, want := range []string{"print()", "/app/main.py", "COPY layer1"} {
		if !strings.Contains(body, want) {
			t.Errorf("%s is not in %s", want, body)
		}
	}
	a, body := ask(t, s, "raw"+strings.TrimPrefix(path, "file"))
	if body != "print()\n" || a.Header.Get("Content-Type") != "application/octet-stream" || a.Header.Get("Content-Disposition") != `attachment; filename="main.py"` {
		t.Errorf("%q, %v", body, a.Header)
	}
}

// The paths that the script gets are those of the image.
func TestTable(t *testing.T) {
	s := serve(t, small(t))
	a, body := ask(t, s, at("table", "image", name))
	if a.Header.Get("Content-Encoding") != "gzip" {
		t.Error(a.Header)
	}
	z, err := gzip.NewReader(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	var got table
	if err := json.NewDecoder(z).Decode(&got); err != nil {
		t.Fatal(err)
	}
	if want := []string{"", "app", "main.py", "etc", "passwd", "usr", "big", "link"}; !slices.Equal(got.Names, want) {
		t.Errorf("%q, want %q", got.Names, want)
	}
	events := 0
	for _, n := range got.Count {
		events += n
	}
	if events != len(got.Layer) || events != len(got.Kind) || events != len(got.Type) || events != len(got.Size) || events != len(got.Detail) {
		t.Errorf("columns of %d events differ in length: %+v", events, got)
	}
}

func TestRefused(t *testing.T) {
	s := serve(t, small(t))
	own := "http://" + s.hosts[0]
	for _, test := range []struct {
		name   string
		url    string
		header []string
		want   int
	}{
		{"the person", s.Address(), nil, 200},
		{"typed", s.Address(), []string{"Sec-Fetch-Site", "none"}, 200},
		{"the page itself", s.Address(), []string{"Origin", own, "Sec-Fetch-Site", "same-origin"}, 200},
		{"localhost", s.Address(), []string{"Host", s.hosts[1]}, 200},
		{"followed from elsewhere", s.Address(), []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}, 200},
		{"no token", own + "/", nil, 403},
		{"another token", own + "/" + strings.Repeat("A", 22) + "/", nil, 403},
		{"the beginning of the token", own + "/" + s.token[:10] + "/", nil, 403},
		{"another name", s.Address(), []string{"Host", "evil.example:80"}, 403},
		{"another port", s.Address(), []string{"Host", "127.0.0.1:1"}, 403},
		{"another site", s.Address(), []string{"Origin", "https://evil.example"}, 403},
		{"a file", s.Address(), []string{"Origin", "null"}, 403},
		{"an image on another site", s.Address(), []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"}, 403},
		{"a frame of another site", s.Address(), []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"}, 403},
		{"another port's script", s.Address(), []string{"Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "cors"}, 403},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, test.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		a, body := send(t, r, test.header...)
		if a.StatusCode != test.want {
			t.Errorf("%s: %s, want %d", test.name, a.Status, test.want)
		}
		if test.want != 200 && (strings.Contains(body, s.token) || strings.Contains(body, name)) {
			t.Errorf("%s: the refusal tells something: %s", test.name, body)
		}
		checkHeaders(t, a)
	}
	for _, test := range []struct {
		header []string
		want   int
	}{
		{nil, 403},
		{[]string{"Origin", "https://evil.example"}, 403},
		{[]string{"Origin", "null"}, 403},
		{[]string{"Origin", "null", "Sec-Fetch-Site", "same-origin"}, 303},
		{[]string{"Origin", own}, 303},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.Address()+"fetch", strings.NewReader(url.Values{"image": {name}, "row": {"0"}}.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if a, body := send(t, r, test.header...); a.StatusCode != test.want {
			t.Errorf("POST with %q: %s, want %d: %s", test.header, a.Status, test.want, body)
		} else if to, err := a.Location(); test.want == 303 && (err != nil || to.String() != s.Address()+at("image", "image", name, "row", 0)) {
			t.Errorf("POST leads to %v, %v", to, err)
		}
	}
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodDelete, s.Address(), nil)
	if a, _ := send(t, r); a.StatusCode != http.StatusMethodNotAllowed {
		t.Error(a.Status)
	}
}

// checkHeaders checks that nothing of an answer may run, be framed, kept or read elsewhere.
func checkHeaders(t *testing.T, a *http.Response) {
	t.Helper()
	policy := a.Header.Get("Content-Security-Policy")
	for _, part := range []string{"default-src 'none'", "script-src 'sha256-", "style-src 'sha256-", "base-uri 'none'", "frame-ancestors 'none'", "form-action 'self'"} {
		if !strings.Contains(policy, part) {
			t.Errorf("the policy lacks %s: %s", part, policy)
		}
	}
	if strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") || strings.Contains(policy, "http") {
		t.Error(policy)
	}
	for name, want := range map[string]string{
		"Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Cache-Control": "no-store",
		"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
	} {
		if got := a.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if a.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("other sites may read it")
	}
}

// What an address asks for that is not there is an error, and no page of anything else.
func TestMistakes(t *testing.T) {
	s := serve(t, small(t))
	for path, want := range map[string]int{
		"nothing":                                        404,
		"image?image=other":                              404,
		"image?image=/etc/passwd":                        404,
		"image?image=docker://evil/x":                    404,
		"image?image=":                                   404,
		at("image", "image", name, "row", 99):            400,
		at("image", "image", name, "row", -1):            400,
		at("image", "image", name, "row", "x"):           400,
		at("file", "image", name, "node", 0, "layer", 0): 404,
		at("file", "image", name, "node", 9999):          400,
		at("raw", "image", name, "node", 6, "layer", 2):  404,
		at("files", "image", name, "node", 1<<40):        400,
		at("build", "build", "xyz"):                      404,
		at("follow", "build", "xyz"):                     404,
	} {
		a, body := ask(t, s, path)
		if a.StatusCode != want {
			t.Errorf("%s: %s, want %d: %s", path, a.Status, want, regexp.MustCompile(`(?s)<main.*</main>`).FindString(body))
		}
	}
}

// evil is markup, escape sequences, and letters that run from right to left.
const evil = "<script>alert(1)</script><img src=x onerror=alert(1)>\u202eabc\x1b[2J\"'`</script>"

// hostileBuild is remembered with such texts in all that a person, a Dockerfile or a step can say.
func hostileBuild(t *testing.T, s *Server) {
	t.Helper()
	step := &explain.Step{Text: "RUN " + evil, Status: explain.Failed, Span: explain.Span{Began: 1, Ran: 2, Ended: 3}}
	step.Source, step.Read = evil, evil
	step.Reasons = []explain.Reason{{Kind: explain.Files, Text: evil, Files: []explain.File{{Path: evil, Change: "changed", Detail: evil, Lines: []string{evil}}}}}
	b := &explain.Build{
		ID: "ab01", Started: time.Now(), Took: 10, Name: evil, Context: evil, Dockerfile: evil, Target: evil, Engine: "graph", Error: evil, Tags: []string{evil},
		Stages: []*explain.Stage{{Name: evil, From: evil, Steps: []*explain.Step{step}}},
	}
	if err := explain.Save(s.gallery.Mover.Store, b, []*explain.Log{{Head: evil + "\n", Left: 5, Tail: evil}}); err != nil {
		t.Fatal(err)
	}
}

// hostile is an image whose texts are all markup, escapes and letters that run from right to left.
func hostile(t *testing.T) archive.Source {
	layer := anatomytest.Tar(t, "<script>alert(1)<\u202f", "a\u202etxt.exe=</pre><script>alert(1)</script>\x1b[31m\u202e", "bad\xff\xfe=x", "loop~>loop", "a~>b", "b~>a", "javascript:alert(1)=x")
	src := anatomytest.Image(t, name, layer)
	c, err := image.Parse(src.Config)
	if err != nil {
		t.Fatal(err)
	}
	c.Author = evil
	c.Config.Labels = map[string]string{evil: evil, "big": strings.Repeat("b", 7<<20)}
	c.Config.Env = []string{"X=" + evil}
	c.Config.Cmd = []string{evil}
	for i := range c.History {
		c.History[i].CreatedBy = evil + " && " + evil
		c.History[i].Comment = evil
		c.History[i].Author = evil
	}
	if src.Config, err = json.Marshal(c); err != nil {
		t.Fatal(err)
	}
	return src
}

// elements are the names of all elements of a page that can do something, and handlers that stand in attributes.
func dangerous(t *testing.T, page string) (found []string) {
	t.Helper()
	root, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	for n := range root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		switch n.Data {
		case "img", "iframe", "object", "embed", "base":
			found = append(found, n.Data)
		case "script", "style":
			found = append(found, n.Data+" "+hash(text(n)))
		}
		for _, a := range n.Attr {
			if strings.HasPrefix(a.Key, "on") || a.Key == "style" || a.Key == "srcdoc" || strings.HasPrefix(strings.TrimSpace(strings.ToLower(a.Val)), "javascript:") {
				found = append(found, fmt.Sprintf("%s %s=%q", n.Data, a.Key, a.Val))
			}
		}
	}
	return found
}

func text(n *html.Node) string {
	if n.FirstChild == nil {
		return ""
	}
	return n.FirstChild.Data
}

func TestHostile(t *testing.T) {
	s := serveWith(t, Options{Changes: true}, hostile(t))
	hostileBuild(t, s)
	allowed := []string{"style " + hash(read("assets/page.css")), "script " + hash(read("assets/page.js"))}
	check := func(what, page string, allowed []string) {
		for _, d := range dangerous(t, page) {
			if !slices.Contains(allowed, d) {
				t.Errorf("%s has %s", what, d)
			}
		}
		if i := strings.IndexFunc(page, isHidden); i >= 0 {
			t.Errorf("%s has a character that is not seen: %q", what, page[max(0, i-40):i+20])
		}
		if len(page) > 2<<20 {
			t.Errorf("%s has %d bytes", what, len(page))
		}
	}
	for _, path := range []string{
		"", at("image", "image", name, "row", 0), at("image", "image", name, "row", 1), at("files", "image", name), at("bytes", "image", name),
		at("packages", "image", name), at("settings", "image", name), "images", at("compare", "image", name, "with", name, "filter", `"><script>`),
		at("image", "image", `"><script>alert(1)</script>`), at("build", "build", "<script>"), at("vulnerabilities", "image", name),
		"builds", at("build", "build", "ab01"), at("log", "build", "ab01", "step", 0), at("log", "build", "ab01", "step", `"><script>`),
		at("change", "do", removeImage, "subject", name), at("change", "do", tagImage, "subject", `"><script>`), at("change", "do", "<script>"),
	} {
		_, body := ask(t, s, path)
		check(path, body, allowed)
	}
	for node := range 8 {
		_, body := ask(t, s, at("file", "image", name, "node", node))
		check("file", body, allowed)
	}
	var b bytes.Buffer
	if err := Export(t.Context(), s.gallery.Options, &b); err != nil {
		t.Fatal(err)
	}
	root, err := html.Parse(bytes.NewReader(b.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	for n := range root.Descendants() {
		if n.Type == html.ElementNode && n.Data == "script" && len(n.Attr) > 0 && n.Attr[0].Val == "application/gzip" {
			allowed = append(allowed, "script "+hash(text(n)))
		}
	}
	if len(allowed) != 3 {
		t.Error("the file has no table, or several")
	}
	check("the file", b.String(), allowed)
	if !strings.Contains(b.String(), `http-equiv="Content-Security-Policy" content="default-src &#39;none&#39;; script-src &#39;sha256-`) {
		t.Error("the file has no policy")
	}
	for _, address := range regexp.MustCompile(`(?:src|href|action)="([^"]*)"`).FindAllStringSubmatch(b.String(), -1) {
		if !strings.HasPrefix(address[1], "#") && !strings.HasPrefix(address[1], "data:image/svg") {
			t.Errorf("the file asks for %s", address[1])
		}
	}
}

// A directory of any size is listed a page at a time, and its table made at once.
func TestLarge(t *testing.T) {
	const files = 50_000
	members := []string{"d/"}
	for i := range files {
		members = append(members, fmt.Sprintf("d/file-%06d=%d", i, i))
	}
	s := serve(t, anatomytest.Image(t, name, anatomytest.Tar(t, members...)))
	began := time.Now()
	_, body := ask(t, s, at("files", "image", name, "node", 1))
	if !strings.Contains(body, "49,800 more") || len(body) > 1<<20 {
		t.Errorf("%d bytes", len(body))
	}
	a, body := ask(t, s, at("table", "image", name))
	if a.StatusCode != 200 || len(body) > 20*files {
		t.Errorf("%d bytes", len(body))
	}
	t.Logf("%d files: %v, table of %d bytes", files, time.Since(began), len(body))
}

func TestFormat(t *testing.T) {
	for text, want := range map[string]string{
		"RUN make": "RUN make",
		"RUN set -eux; 	apt-get update; 	apt-get install -y a b && rm -rf /x": "RUN set -eux; \\\n    apt-get update; \\\n    apt-get install -y a b \\\n    && rm -rf /x",
		`RUN echo "a; b && c" && echo 'd || e'`:                               "RUN echo \"a; b && c\" \\\n    && echo 'd || e'",
		`RUN find . -exec rm {} \; && case x in a) b;; esac`:                  "RUN find . -exec rm {} \\; \\\n    && case x in a) b;; esac",
		`RUN ["a", "&&", "b"]`:                                                `RUN ["a", "&&", "b"]`,
		"COPY a && b":                                                         "COPY a && b",
		"RUN <<EOF\na && b\nEOF":                                              "RUN <<EOF\na && b\nEOF",
		"":                                                                    "",
	} {
		if got := format(text); got != want {
			t.Errorf("%q:\n%s\nwant\n%s", text, got, want)
		}
	}
}

func FuzzFormat(f *testing.F) {
	f.Add("RUN a && b; c || 'd")
	f.Fuzz(func(t *testing.T, text string) {
		got := format(text)
		if len(got) > 8*len(text)+20 {
			t.Errorf("%d bytes of %d", len(got), len(text))
		}
		if strings.ContainsFunc(shown(got), isHidden) {
			t.Errorf("%q", shown(got))
		}
	})
}

func TestShown(t *testing.T) {
	for text, want := range map[string]string{
		"plain\n\ttext": "plain\n\ttext", "ünï": "ünï", "a\u202eb": `a\u202eb`, "\x1b[2J": `\u001b[2J`, "\xff": `\xff`, "\u200b": `\u200b`, "x\u2028y": "x\u2028y",
	} {
		if got := shown(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// A treemap's rectangles fill its box without overlapping, each with an area in proportion to its value.
func TestSquarify(t *testing.T) {
	values := []float64{500, 300, 100, 60, 30, 9, 1}
	in := box{10, 20, 400, 300}
	boxes := squarify(in, values)
	area := 0.0
	for i, b := range boxes {
		area += b.W * b.H
		if want := values[i] / 1000 * in.W * in.H; b.W*b.H < want*0.99 || b.W*b.H > want*1.01 {
			t.Errorf("%v has an area of %v, want %v", b, b.W*b.H, want)
		}
		if b.X < in.X-1e-6 || b.Y < in.Y-1e-6 || b.X+b.W > in.X+in.W+1e-6 || b.Y+b.H > in.Y+in.H+1e-6 {
			t.Errorf("%v is outside", b)
		}
		for _, c := range boxes[:i] {
			if b.X < c.X+c.W-1e-6 && c.X < b.X+b.W-1e-6 && b.Y < c.Y+c.H-1e-6 && c.Y < b.Y+b.H-1e-6 {
				t.Errorf("%v and %v overlap", b, c)
			}
		}
	}
	if area < 0.999*in.W*in.H {
		t.Error(area)
	}
	if len(squarify(in, nil)) != 0 || len(squarify(box{}, values)) != len(values) {
		t.Error("nothing to draw")
	}
}

func TestTicks(t *testing.T) {
	for _, took := range []int64{0, 1, 9, 50, 99, 1000, 12_345, 600_000, 100_000_000} {
		all := ticks(took)
		if len(all) > 5 || took > 100 && len(all) < 2 {
			t.Errorf("%d ms: %v", took, all)
		}
	}
}

// What a step printed is text: without what moves a terminal's cursor or turns letters round.
// A long log stands with its end on the build's page.
func TestLogView(t *testing.T) {
	b := &explain.Build{ID: "ab01", Took: 10, Stages: []*explain.Stage{{Steps: []*explain.Step{{Text: "COPY a /"}, {Text: "RUN make", Status: explain.Failed}}}}}
	v := newBuildView(b, false, map[int]*explain.Log{1: {Step: 1, Head: "\x1b[31m<b>red</b>\x1b[0m\r\n10%\r20%\nleft \u202eright\n"}})
	if v.Stages[0].Steps[0].Log != nil {
		t.Error("a step that printed nothing has a log")
	}
	want := &logView{Build: "ab01", Step: 1, Text: "<b>red</b>\n20%\nleft right\n", Lines: 3, Open: true}
	if diff := cmp.Diff(want, v.Stages[0].Steps[1].Log); diff != "" {
		t.Error(diff)
	}
	html, err := render("build", v)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(html), "&lt;b&gt;red&lt;/b&gt;\n20%\nleft right\n") {
		t.Errorf("the page says\n%s", html)
	}
	long := &logView{Text: strings.Repeat("a line\n", 10_000)}
	if long.end(); len(long.Text) > maxInline || !strings.HasPrefix(long.Text, "a line\n") || int64(len(long.Text))+long.Left != 70_000 {
		t.Errorf("%d bytes, %d before them", len(long.Text), long.Left)
	}
}

// What the server answers ends when the server does, however long it would go on.
func TestServeEnds(t *testing.T) {
	m := anatomytest.Mover(t)
	s, err := Listen(t.Context(), Options{Mover: m})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Serve(ctx) }()
	a, err := http.Get(s.Address() + "follow")
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	if a.Header.Get("Content-Type") != "text/event-stream" {
		t.Error(a.Header)
	}
	stop()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("it goes on")
	}
}

func BenchmarkFirst(b *testing.B) {
	m := anatomytest.Mover(b)
	var members []string
	for i := range 10_000 {
		members = append(members, fmt.Sprintf("d/file-%06d=%d", i, i))
	}
	anatomytest.Load(b, m, anatomytest.Save(b, anatomytest.Image(b, name, anatomytest.Tar(b, members...))))
	for b.Loop() {
		s := &Server{gallery: newGallery(Options{Mover: m, Image: name}), token: "t", hosts: []string{"h"}, mux: http.NewServeMux()}
		s.route()
		r := httptest.NewRequest(http.MethodGet, "http://h/t/", nil)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != 200 {
			b.Fatal(w.Body)
		}
		s.gallery.close()
	}
}
