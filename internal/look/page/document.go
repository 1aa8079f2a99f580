package page

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/image"
)

//go:embed assets
var files embed.FS

// bundle is what all pages have: the templates, and the style and script that stand in each page, where a hash in the
// policy allows them.
type bundle struct {
	templates     *template.Template
	style, script template.HTML
	policy        string
}

// assets are made when the first page is: other commands pay nothing for them.
var assets = sync.OnceValue(func() *bundle {
	style, script := read("assets/page.css"), read("assets/page.js")
	return &bundle{
		templates: template.Must(template.New("").Funcs(functions).ParseFS(files, "assets/*.html")),
		style:     template.HTML("<style>" + style + "</style>"),
		script:    template.HTML("<script>" + script + "</script>"),
		policy: fmt.Sprintf("default-src 'none'; script-src '%s'; style-src '%s'; img-src data:; base-uri 'none'",
			hash(script), hash(style)),
	}
})

func read(name string) string {
	data, err := files.ReadFile(name)
	if err != nil {
		panic(err) // it is embedded
	}
	return string(data)
}

// hash is a text's source in a Content-Security-Policy (CSP3, "hash-source").
func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// functions are those that templates call.
var functions = template.FuncMap{
	"size":    human.Size,
	"count":   count,
	"number":  thousands,
	"short":   func(id string) string { return image.ShortID(digest.Digest(id)) },
	"shown":   clipped,
	"line":    oneLine,
	"quoted":  human.Quoted,
	"address": address,
	"add":     func(a, b int) int { return a + b },
	"sign":    func(kind string) string { return strings.ReplaceAll(kind, "-", "−") },
	"word":    word,
	// severities are those that a person can filter by.
	"severities": func() []string { return []string{"low", "medium", "high", "critical"} },
}

// word is what a change is called.
func word(kind string) string {
	switch kind {
	case "+", "added":
		return "added"
	case "~", "changed":
		return "changed"
	case "-", "removed":
		return "removed"
	}
	return "written"
}

// address makes an address of a page and of names and values.
func address(page string, pairs ...any) string {
	v := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		v.Set(fmt.Sprint(pairs[i]), fmt.Sprint(pairs[i+1]))
	}
	if len(v) == 0 {
		return page
	}
	return page + "?" + v.Encode()
}

// document is one page.
type document struct {
	Title string
	// View is the template of what is in it, Tab the tab of an image that it is.
	View, Tab string
	Image     *header // that all of it is about, nil for none
	Data      any
	Server    *Server       // nil in a file
	Table     template.HTML // in a file, the image's paths
	Version   string
}

// tab is a view of an image.
type tab struct {
	Name, Address string
	Current       bool
}

// views are those of an image, by the words of their addresses; served are those that a file does not have.
var views = []struct {
	view, name string
	served     bool
}{
	{"image", "Layers", false}, {"files", "Files", true}, {"bytes", "Size", false}, {"packages", "Packages", false},
	{"vulnerabilities", "Vulnerabilities", false},
	{"settings", "Configuration", false}, {"compare", "Compare", true},
}

// Tabs are the views of the document's image.
func (d *document) Tabs() []tab {
	var all []tab
	for _, v := range views {
		t := tab{Name: v.name, Current: d.Tab == v.view}
		switch {
		case d.Server != nil:
			t.Address = address(v.view, "image", d.Image.Image)
		case v.served:
			continue
		default:
			t.Address = "#" + v.view
		}
		all = append(all, t)
	}
	return all
}

// Style is the style sheet.
func (d *document) Style() template.HTML { return assets().style }

// Script is the script.
func (d *document) Script() template.HTML { return assets().script }

// Policy is the Content-Security-Policy of a file, in which there are no headers.
func (d *document) Policy() string { return assets().policy + "; form-action 'none'" }

// Body is what the page is about.
func (d *document) Body() (template.HTML, error) { return render(d.View, d.Data) }

func render(name string, data any) (template.HTML, error) {
	var b bytes.Buffer
	if err := assets().templates.ExecuteTemplate(&b, name, data); err != nil {
		return "", err
	}
	return template.HTML(b.String()), nil
}

// write answers with the page, or with what is in it only.
func (d *document) write(w http.ResponseWriter, status int, part bool) {
	name, data := "page", any(d)
	if part {
		name, data = d.View, d.Data
	}
	text, err := render(name, data)
	if err != nil {
		http.Error(w, "strata page: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	io.WriteString(w, string(text))
}
