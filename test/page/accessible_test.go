package page

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/chromedp/chromedp"
)

// The release of axe-core, the rules of which pages are held to. npm fetches it once.
const (
	axeName   = "axe-core-4.10.3.tgz"
	axeDigest = "0f2b4d7dcdf7d1219df8d1959ad68e565f51d14c3f0d88bb71cd59abeb956292"
)

var errNoNPM = errors.New("npm is not here")

// axe is the source of axe-core.
func axe() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "strata-test")
	data, err := os.ReadFile(filepath.Join(dir, axeName))
	if err != nil {
		if _, err := exec.LookPath("npm"); err != nil {
			return "", errNoNPM
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return "", err
		}
		cmd := exec.Command("npm", "pack", "--silent", strings.TrimSuffix(strings.Replace(axeName, "core-", "core@", 1), ".tgz"))
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", errors.Join(errNoNPM, err, errors.New(string(out)))
		}
		if data, err = os.ReadFile(filepath.Join(dir, axeName)); err != nil {
			return "", err
		}
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != axeDigest {
		return "", errors.New(axeName + " is another than it was")
	}
	z, err := gzip.NewReader(strings.NewReader(string(data)))
	if err != nil {
		return "", err
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err != nil {
			return "", err
		}
		if h.Name == "package/axe.min.js" {
			text, err := io.ReadAll(r)
			return string(text), err
		}
	}
}

// basic are rules that need nothing: a language, a title, one first heading, names of what can be pressed, labels
// of what is typed into, and no address twice.
const basic = `(() => {
  const found = [];
  if (document.documentElement.lang !== "en") found.push("no language");
  if (!document.title) found.push("no title");
  if (document.querySelectorAll("h1").length !== 1) found.push(document.querySelectorAll("h1").length + " first headings");
  for (const e of document.querySelectorAll("a[href], button")) if (!(e.innerText || e.ariaLabel || e.title || e.textContent).trim()) found.push("no name: " + e.outerHTML.slice(0, 100));
  for (const e of document.querySelectorAll("input:not([type=hidden]), select")) if (!e.ariaLabel && !e.labels.length) found.push("no label: " + e.outerHTML.slice(0, 100));
  const ids = new Set();
  for (const e of document.querySelectorAll("[id]")) { if (ids.has(e.id)) found.push("twice: " + e.id); ids.add(e.id); }
  return found.join("; ");
})()`

// accessible holds every view to the rules of axe-core, and to some that need nothing.
func (w *world) accessible(address string) {
	source, err := axe()
	if errors.Is(err, errNoNPM) {
		w.t.Log("only some rules are checked:", err)
	} else if err != nil {
		w.t.Fatal(err)
	}
	file := filepath.Join(w.dir, "image.html")
	w.strata("page", "-o", file, second)
	build, changing := "", w.serve("--allow-changes")
	for _, scheme := range []string{"light", "dark"} {
		w.scheme(scheme, 1280, 860, 1)
		for _, v := range []string{
			view("image", "image", second), view("files", "image", second), view("bytes", "image", second), view("packages", "image", second), view("vulnerabilities", "image", second),
			view("settings", "image", second), view("compare", "image", first, "with", second), "images", "builds", "build", "change/images", "change/change?do=tag&subject=busybox", "nothing", "file",
		} {
			switch {
			case v == "file":
				w.open("file://" + file)
			case strings.HasPrefix(v, "change/"):
				w.open(changing + strings.TrimPrefix(v, "change/"))
			case v == "build" && build == "":
				w.open(address + "builds")
				build = w.ask(`document.querySelector("#list a").href`)
				fallthrough
			case v == "build":
				w.open(build)
			default:
				w.open(address + v)
			}
			if strings.HasPrefix(v, "image?") || v == "file" {
				w.until(`document.querySelector(".window .item")`)
			}
			if found := w.ask(basic); found != "" {
				w.t.Errorf("%s: %s", v, found)
			}
			if source != "" {
				w.axe(v+" "+scheme, source)
			}
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = nil // the page that is not there is said to be so
}

func (w *world) axe(where, source string) {
	w.t.Helper()
	if _, err := chromedp.Run(w.browser, chromedp.Evaluate[int](source+"\n0")); err != nil {
		w.t.Fatalf("%s: axe-core does not load", where)
	}
	text, err := chromedp.Run(w.browser, chromedp.Evaluate[string](`axe.run(document, {resultTypes: ["violations"], rules: {"scrollable-region-focusable": {enabled: true}}}).then((r) => JSON.stringify(r.violations.map((v) =>
		({ id: v.id, impact: v.impact, help: v.help, nodes: v.nodes.slice(0, 3).map((n) => n.html.slice(0, 200) + " " + (n.any[0]?.message ?? "")) }))))`, chromedp.EvalAwaitPromise))
	if err != nil {
		w.t.Fatalf("%s: %v", where, err)
	}
	var found []struct {
		ID, Impact, Help string
		Nodes            []string
	}
	if err := json.Unmarshal([]byte(text), &found); err != nil {
		w.t.Fatal(err)
	}
	for _, f := range found {
		if f.Impact == "serious" || f.Impact == "critical" {
			w.t.Errorf("%s: %s (%s): %s\n%s", where, f.ID, f.Impact, f.Help, strings.Join(f.Nodes, "\n"))
		} else {
			w.t.Logf("%s: %s (%s): %s\n%s", where, f.ID, f.Impact, f.Help, strings.Join(f.Nodes, "\n"))
		}
	}
}
