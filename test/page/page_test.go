// Package page drives the pages of `strata page` in Chromium, as a person does: what each view shows, keys, a build
// while it runs, the exported file. Whatever the browser's console says of errors, or of what the
// Content-Security-Policy kept from running, fails the test.
package page

import (
	"archive/tar"
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/strata-build/strata/test/testbed"
)

var (
	pictures = flag.String("pictures", "", "write the pictures of the documentation to this `DIRECTORY`")
	files    = flag.Int("files", 20_000, "how many `FILES` the large directory has")
	wait     = flag.Duration("wait", 20*time.Second, "how long something is waited for")
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(testbed.Main(m))
}

const (
	first  = "me/app:1"
	second = "me/app:2"
	third  = "me/app:3" // upgrades a package
)

// advisory is an OSV document of a vulnerability that is made up.
const advisory = `{"id": "GHSA-made-up", "aliases": ["CVE-2099-0001"], "modified": "2099-01-01T00:00:00Z", "summary": "A <b>flaw</b> that is made up",
"database_specific": {"severity": "HIGH"}, "references": [{"type": "ADVISORY", "url": "https://example.org/CVE-2099-0001"}],
"affected": [{"package": {"ecosystem": "PyPI", "name": "bottle"}, "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "0.13"}]}]}]}`

// upgrade is what pip would do with a network.
const upgrade = "FROM " + second + `
RUN cd /usr/local/lib/python3.11/site-packages && mv bottle-*.dist-info bottle-0.13.dist-info && sed -i "s/^Version: .*/Version: 0.13/" bottle-0.13.dist-info/METADATA
`

// world is a store with the lesson's image in two versions, and a browser.
type world struct {
	t       *testing.T
	binary  string
	root    string // of the store
	dir     string
	browser context.Context

	mu     sync.Mutex
	faults []string // what the browser's console said
}

func newWorld(t *testing.T) *world {
	if testing.Short() || os.Geteuid() != 0 {
		t.Skip("needs root, a Python image and Chromium: run without -short")
	}
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("chromium is not here; test/require test installs it")
	}
	w := &world{t: t, dir: t.TempDir()}
	if w.binary, err = testbed.Build(t.Context(), w.dir); err != nil {
		t.Fatal(err)
	}
	w.root = filepath.Join(w.dir, "store")
	if _, err := testbed.MakeStore(t.Context(), w.binary, w.root, true); err != nil {
		t.Fatal(err)
	}
	w.build()

	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(chromium), chromedp.NoSandbox, chromedp.WindowSize(1280, 860),
		chromedp.UserDataDir(filepath.Join(w.dir, "profile")), chromedp.Flag("disable-gpu", true))
	allocator, stop := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(stop)
	browser, end := chromedp.NewContext(allocator)
	t.Cleanup(end)
	w.browser = browser
	messages := chromedp.Console(browser)
	go w.listen(messages)
	return w
}

// build builds the lesson's app, and once more with a file that is changed and one that is wasted.
func (w *world) build() {
	root, err := testbed.Root()
	if err != nil {
		w.t.Fatal(err)
	}
	app := filepath.Join(w.dir, "app")
	if out, err := exec.Command("cp", "-r", filepath.Join(root, "examples", "lesson-app"), app).CombinedOutput(); err != nil {
		w.t.Fatalf("%v: %s", err, out)
	}
	w.strata("build", "-q", "-t", first, app)
	w.append(filepath.Join(app, "main.py"), "# changed\n")
	w.append(filepath.Join(app, "Dockerfile"), "RUN dd if=/dev/zero of=/tmp/big bs=1M count=6\nRUN rm /tmp/big && echo prod >/etc/stage\nLABEL version=2\n")
	w.strata("build", "-q", "-t", second, app)
	w.write("upgrade/Dockerfile", upgrade)
	w.strata("build", "-q", "-t", third, filepath.Join(w.dir, "upgrade"))
	w.strata("vulndb", "import", w.write("osv/made-up.json", advisory))
}

// write writes a file in the test's directory, and returns its path.
func (w *world) write(name, text string) string {
	path := filepath.Join(w.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
	return path
}

func (w *world) append(name, text string) {
	f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) command(args ...string) *exec.Cmd {
	cmd := exec.Command(w.binary, args...)
	cmd.Env = append(os.Environ(), "STRATA_ROOT="+w.root, "HOME="+w.dir, "BROWSER=", "DISPLAY=")
	return cmd
}

func (w *world) strata(args ...string) {
	w.t.Helper()
	if out, err := w.command(args...).CombinedOutput(); err != nil {
		w.t.Fatalf("strata %q: %v\n%s", args, err, out)
	}
}

// serve starts strata page, and returns the address that it prints. It ends with the test, by Ctrl-C, and well.
func (w *world) serve(args ...string) string {
	w.t.Helper()
	cmd := w.command(append([]string{"page", "--no-open"}, args...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGINT)
		if err := cmd.Wait(); err != nil {
			w.t.Errorf("strata page ended with %v", err)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		w.t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

// listen takes down what the console says.
func (w *world) listen(messages iter.Seq2[chromedp.ConsoleMessage, error]) {
	for m, err := range messages {
		if err != nil {
			return // the browser ended
		}
		switch m.Type {
		case "error", "warning", "assert", chromedp.ConsoleException:
			w.mu.Lock()
			w.faults = append(w.faults, fmt.Sprintf("%s: %s (%s:%d)", m.Type, m.Text, m.URL, m.Line+1))
			w.mu.Unlock()
		}
	}
}

// calm fails the test for what the console said meanwhile.
func (w *world) calm(where string) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range w.faults {
		w.t.Errorf("%s: the browser says %s", where, f)
	}
	w.faults = nil
}

func (w *world) do(actions ...chromedp.Action[chromedp.Void]) {
	w.t.Helper()
	ctx, stop := context.WithTimeout(w.browser, *wait)
	defer stop()
	if err := chromedp.Do(ctx, actions...); err != nil {
		w.t.Fatalf("%v; the page says:\n%s", err, w.seen())
	}
}

// until waits for a condition in JavaScript.
func (w *world) until(condition string) {
	w.t.Helper()
	ctx, stop := context.WithTimeout(w.browser, *wait)
	defer stop()
	for ctx.Err() == nil {
		if ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("Boolean("+condition+")")); err == nil && ok {
			return
		}
		time.Sleep(30 * time.Millisecond)
	}
	w.t.Fatalf("never %s; the page says:\n%s", condition, w.seen())
}

// seen is what the page says, for a failure.
func (w *world) seen() string {
	ctx, stop := context.WithTimeout(w.browser, time.Second)
	defer stop()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`location.href + "\n" + document.body.innerText.slice(0, 3000) + "\nfocus: " + document.activeElement?.outerHTML.slice(0, 300) + " " + document.activeElement?.value`))
	if err != nil {
		return err.Error()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(append([]string{text}, w.faults...), "\n")
}

// see waits until the page has a text.
func (w *world) see(texts ...string) {
	w.t.Helper()
	for _, text := range texts {
		w.until(fmt.Sprintf("document.body.innerText.includes(%q)", text))
	}
}

func (w *world) ask(expression string) string {
	w.t.Helper()
	ctx, stop := context.WithTimeout(w.browser, *wait)
	defer stop()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string]("String("+expression+")"))
	if err != nil {
		w.t.Fatalf("%s: %v", expression, err)
	}
	return text
}

func (w *world) open(address string) {
	w.t.Helper()
	w.do(chromedp.Navigate(address))
	w.until(`document.querySelector("#main")?.dataset.scripted`)
}

// key types keys as a keyboard does: of a key whose press the page takes for itself no letter comes.
func (w *world) key(keys ...string) {
	w.t.Helper()
	for _, k := range keys {
		for _, r := range k {
			down := kb.Encode(r)
			press := *down[0]
			press.Type = input.DispatchKeyEventTypeKeyDown
			for _, e := range down {
				if e.Type == input.DispatchKeyEventTypeChar {
					press.Text, press.UnmodifiedText = e.Text, e.UnmodifiedText
				}
			}
			call(w, input.DispatchKeyEvent, press)
			press.Type, press.Text, press.UnmodifiedText = input.DispatchKeyEventTypeKeyUp, "", ""
			call(w, input.DispatchKeyEvent, press)
		}
	}
}

// picture keeps what is seen, for the documentation where that is asked for.
func (w *world) picture(name string) {
	w.t.Helper()
	dir := *pictures
	if dir == "" {
		return
	}
	w.ask(`document.activeElement?.blur()`)
	time.Sleep(150 * time.Millisecond)
	png, err := chromedp.Run(w.browser, chromedp.CaptureScreenshot())
	if err != nil {
		w.t.Fatal(err)
	}
	if png, err = fewColors(png); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) scheme(name string, width, height int64, scale float64) {
	w.t.Helper()
	call(w, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}})
	call(w, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: height, DeviceScaleFactor: scale, Mobile: width < 600})
}

func call[P any](w *world, command cdp.Command[P, cdp.Empty], params P) {
	w.t.Helper()
	if _, err := chromedp.Call(w.browser, command, params); err != nil {
		w.t.Fatal(err)
	}
}

func view(page string, pairs ...string) string {
	v := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	return page + "?" + v.Encode()
}

func TestPage(t *testing.T) {
	w := newWorld(t)
	address := w.serve(second)
	for _, part := range []struct {
		name string
		run  func(*world, string)
	}{
		{"layers", (*world).layers}, {"keyboard", (*world).keyboard}, {"files", (*world).files}, {"bytes", (*world).bytes}, {"packages", (*world).packages}, {"vulnerabilities", (*world).vulnerabilities},
		{"settings", (*world).settings}, {"compare", (*world).compare}, {"images", (*world).images}, {"builds", (*world).builds},
		{"live", (*world).live}, {"changes", (*world).changes}, {"file", (*world).contained}, {"hostile", (*world).hostile}, {"phone", (*world).phone}, {"dark", (*world).dark}, {"without script", (*world).withoutScript},
		{"another site", (*world).anotherSite}, {"fast", (*world).fast}, {"accessible", (*world).accessible},
	} {
		ok := t.Run(part.name, func(t *testing.T) {
			w.t = t
			w.scheme("light", 1280, 860, 1)
			part.run(w, address)
			w.do(chromedp.Navigate("about:blank")) // no page asks a server any more that ends with its part
			w.calm(part.name)
		})
		if !ok && w.browser.Err() != nil {
			return
		}
	}
}

// layers is lesson 1.10: the layer in which the base installs pip is clicked, and its command is seen.
func (w *world) layers(address string) {
	w.open(address)
	w.see(second, "Base image", "python:3.11-slim-bookworm", "config")
	w.until(`document.querySelector(".rows a[aria-current]")`)
	w.do(chromedp.Click(`//ol//a[contains(., "pip") and ancestor::section[contains(@class, "base")]]`))
	w.until(`document.querySelector(".detail .note")?.innerText.includes("of python:3.11-slim-bookworm")`)
	w.until(`document.querySelector(".command").innerText.includes("pip")`)
	if got := w.ask(`location.search`); !strings.Contains(got, "row=") {
		w.t.Errorf("the address is %s", got)
	}
	w.until(`document.querySelector(".details .window .item")`)
	w.ask(`history.back()`)
	w.until(`!document.querySelector(".detail .note")?.innerText.includes("of python")`)
	w.do(chromedp.Click(`//ol//a[contains(., "pip install -r")]`))
	w.until(`document.querySelector(".command").innerText.includes("pip install -r requirements.txt")`)
	w.see("bottle", "made here")
	w.until(`document.querySelector(".details .window .item")`)
	w.until(`document.querySelector(".rows .mark.high")`)
	w.picture("page-layers")
}

// keyboard goes through the rows, into the files, opens one, filters, and back.
func (w *world) keyboard(address string) {
	w.open(view(address+"image", "image", second, "row", "0"))
	w.until(`document.querySelector(".details .window .item")`)
	w.key(kb.ArrowDown, kb.ArrowDown)
	w.until(`document.querySelector(".rows a[aria-current]").dataset.row === "2"`)
	w.key("k")
	w.until(`document.querySelector(".rows a[aria-current]").dataset.row === "1"`)
	copied := w.ask(`[...document.querySelectorAll(".rows a")].find((a) => a.innerText.includes("COPY")).dataset.row`)
	w.open(view(address+"image", "image", second, "row", copied))
	w.until(`document.querySelector(".details .window .item")`)
	w.key(kb.Enter)
	w.until(`document.activeElement.className === "window"`)
	w.key(kb.ArrowDown)
	w.until(`document.querySelector(".item.active")?.getAttribute("aria-level") === "2"`)
	w.key("/", "main")
	w.see("1 found")
	w.key(kb.Enter, kb.Enter)
	w.until(`document.querySelector("#preview[open] pre")?.innerText.includes("# changed")`)
	w.see("Who made it", "/app/main.py")
	w.picture("page-file")
	w.key(kb.Escape)
	w.until(`!document.querySelector("#preview[open]")`)
	w.key(kb.Escape)
	w.until(`document.activeElement.matches(".rows a")`)
	w.key("a")
	w.until(`document.querySelector(".choice button:last-child").getAttribute("aria-pressed") === "true"`)
	w.key("?")
	w.until(`document.querySelector("#help[open]")`)
	w.key(kb.Escape)
	w.until(`!document.querySelector("#help[open]")`)
}

func (w *world) files(address string) {
	w.open(view(address+"files", "image", second))
	w.until(`document.querySelector(".window .item")`)
	w.see("etc/", "usr/")
	w.do(chromedp.Click(`//div[contains(@class, "item")]/bdi[text()="app/"]`))
	w.see("main.py", "requirements.txt")
	blame := w.ask(`[...document.querySelectorAll(".item")].find((i) => i.innerText.includes("main.py")).querySelector(".by a")?.title ?? "none"`)
	if !strings.Contains(blame, "COPY . .") {
		w.t.Errorf("main.py is by %s", blame)
	}
	w.picture("page-files")
}

func (w *world) bytes(address string) {
	w.open(view(address+"bytes", "image", second))
	w.see("wasted", "What is wasted, and what to do", "/tmp/big")
	w.until(`document.querySelectorAll(".map.wide .tile").length > 20`)
	w.until(`document.querySelector(".map.wide .tile.wasted title").textContent.includes("/tmp/big")`)
	w.picture("page-size")
	// The legend has the colours that tiles have at the greatest depth.
	for key, tile := range map[string]string{"own": ".tile:not(.of-base):not(.wasted)", "base": ".tile.of-base:not(.wasted)"} {
		want := w.ask(fmt.Sprintf(`getComputedStyle(document.querySelector(%q)).fill`, ".legend .key-"+key))
		got := w.ask(fmt.Sprintf(`(() => { const t = document.querySelector(%q).cloneNode(true); t.setAttribute("class", t.getAttribute("class").replace(/d\d/, "d4")); document.querySelector(".map.wide").append(t); const fill = getComputedStyle(t.querySelector("rect")).fill; t.remove(); return fill; })()`, ".map.wide "+tile))
		if got != want {
			w.t.Errorf("the legend shows %s for what is %s: %s", want, key, got)
		}
	}
	for title, want := range map[string]string{"/usr/share/perl": "true", "/usr/local/lib/python3.11/site-packages/pip": "true", "RUN pip install -r requirements.txt": "false"} {
		got := w.ask(fmt.Sprintf(`[...document.querySelectorAll(".map.wide .tile")].find((t) => t.querySelector("title").textContent.includes(%q)).classList.contains("of-base")`, title))
		if got != want {
			w.t.Errorf("%s: of the base %s, want %s", title, got, want)
		}
	}
	w.ask(`[...document.querySelectorAll(".map.wide .tile")].find((t) => t.querySelector("title").textContent.startsWith("/usr/share/perl")).querySelector("rect").dispatchEvent(new MouseEvent("click", {bubbles: true}))`)
	w.until(`document.querySelector(".item.active")?.innerText.includes("perl/")`)
}

func (w *world) packages(address string) {
	w.open(view(address+"packages", "image", second))
	w.see("bottle", "libc6", "dpkg", "python", "Debian")
	w.key("/", "bottle")
	w.until(`[...document.querySelectorAll("#list tbody tr")].filter((r) => !r.hidden).length === 1`)
	w.see("RUN pip install -r requirements.txt")
	w.ask(`(document.querySelector("select[name=mine]").value = "mine", document.querySelector("select[name=mine]").form.requestSubmit())`)
	w.until(`location.search.includes("mine=mine")`)
	w.open(view(address+"packages", "image", second))
	w.picture("page-packages")
}

// vulnerabilities shows a planted one at the layer that brought it, and that the image which upgrades it has none.
func (w *world) vulnerabilities(address string) {
	w.open(view(address+"vulnerabilities", "image", second))
	w.see("1 known vulnerability", "CVE-2099-0001", "high", "bottle", "0.13", "A <b>flaw</b> that is made up", "RUN pip install -r requirements.txt")
	w.picture("page-vulnerabilities")
	w.do(chromedp.Click(`//td/a[contains(., "pip install -r")]`))
	w.see("Vulnerabilities that it brought", "CVE-2099-0001", "fixed in 0.13")
	w.open(view(address+"vulnerabilities", "image", second, "mine", "base"))
	w.see("None is like this")
	w.open(view(address+"vulnerabilities", "image", second, "severity", "critical"))
	w.see("None is like this")
	w.open(view(address+"vulnerabilities", "image", third))
	w.see("No known vulnerabilities")
	w.open(view(address+"image", "image", third))
	w.see("Vulnerabilities that it cured", "CVE-2099-0001")
	w.open(view(address+"image", "image", second))
	w.until(`document.querySelector(".rows .mark.high")?.closest("a").innerText.includes("pip install -r")`)
	w.open(view(address+"compare", "image", second, "with", third))
	w.see("Vulnerabilities that are gone", "CVE-2099-0001")
}

func (w *world) settings(address string) {
	w.open(view(address+"settings", "image", second))
	w.see("APP_ENV", "prod", "PYTHON_VERSION", "WORKDIR")
}

func (w *world) compare(address string) {
	w.open(view(address+"compare", "image", first, "with", second))
	w.see("/app/main.py", "/etc/stage", "version")
	w.do(chromedp.Click(`//a[contains(., "/app/main.py")]`))
	w.until(`document.querySelector("#preview[open] .patch .added:nth-of-type(n)")`)
	w.see("+# changed")
	w.key(kb.Escape)
	w.picture("page-compare")
}

func (w *world) images(address string) {
	w.open(address + "images")
	w.see(first, second, "busybox", "Alone")
	w.key("/", "app:2")
	w.until(`[...document.querySelectorAll("#list tbody tr")].filter((r) => !r.hidden).length === 1`)
	w.open(address + "images")
	w.picture("page-images")
}

func (w *world) builds(address string) {
	w.open(address + "builds")
	w.see(second, "app")
	w.do(chromedp.Click(`//tr[contains(., "` + second + `")]//a`))
	w.see("COPY . .", "why", "main.py", "cached")
	w.until(`document.querySelectorAll(".step svg .ran").length > 1`)
	build := w.ask("location.href")
	w.do(chromedp.Click(`//li[contains(@class, "hit") and contains(., "WORKDIR")]//a[contains(., "build ")]`))
	w.until(`document.querySelector(".step.ran .log")?.innerText.includes("Printed")`)
	w.see("pip install", first)
	w.open(build)
	w.do(chromedp.Click(`//li[contains(., "RUN dd")]//summary`))
	w.see("6+0 records out")
	w.picture("page-build")
	w.do(chromedp.Click(`//li[contains(@class, "step")]//a[contains(., "RUN dd")]`))
	w.see("RUN dd if=/dev/zero", "/tmp/big")
	w.failed(address)
}

// failed shows what the step printed that made a build fail, with the secret that it was given masked, and a log that
// is too long for the page of the build.
func (w *world) failed(address string) {
	w.write("failed/Dockerfile", "FROM busybox\nRUN seq 100000\nRUN --mount=type=secret,id=token cat /run/secrets/token; printf '\\033[31m<b>no</b>\\033[0m\\n'; exit 3\n")
	secret := w.write("failed-secret", "hunter2-the-secret\n")
	if out, err := w.command("build", "-q", "--secret", "id=token,src="+secret, filepath.Join(w.dir, "failed")).CombinedOutput(); err == nil {
		w.t.Errorf("it does not fail: %s", out)
	}
	w.open(address + "builds")
	w.do(chromedp.Click(`//tr[contains(., "failed")]//a`))
	w.until(`document.querySelector(".step.failed .log[open]")?.innerText.includes("****\n<b>no</b>")`)
	if got := w.ask(`document.documentElement.innerHTML.includes("hunter2")`); got != "false" {
		w.t.Error("the secret is on the page")
	}
	w.do(chromedp.Click(`//li[contains(., "seq 100000")]//summary`), chromedp.Click(`//li[contains(., "seq 100000")]//a[contains(., "before it")]`))
	w.until(`document.querySelector("pre.whole")?.innerText.startsWith("1\n2\n")`)
	w.see("in between are not kept", "100000")
}

// html is a page as the server gives it.
func (w *world) html(address string) string {
	w.t.Helper()
	answer, err := http.Get(address)
	if err != nil {
		w.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

// live follows a build that another process runs.
func (w *world) live(address string) {
	dir := w.t.TempDir()
	dockerfile := "FROM busybox AS one\nRUN echo first && sleep 2\nFROM busybox AS two\nRUN for i in $(seq 40); do echo line $i; sleep 0.15; done\n" +
		"FROM one\nCOPY --from=two /bin/ls /two-ls\nRUN sleep 1\n"
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(dockerfile), 0o644); err != nil {
		w.t.Fatal(err)
	}
	w.open(address + "builds")
	cmd := w.command("build", "--no-cache", "-t", "me/live", dir)
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.see("Running now")
	w.do(chromedp.Click(`#running a`))
	w.until(`document.querySelector("#build[data-follow]")`)
	w.see("running", "line 3")
	w.until(`document.querySelectorAll(".step.running").length >= 1`)
	w.until(`document.querySelector("#output").innerText.includes("line 8")`)
	w.picture("page-live")
	if _, printed, _ := strings.Cut(w.html(w.ask("location.href")), "<noscript>"); !strings.Contains(printed, "line 3\nline 4\n") {
		w.t.Error("without a script nothing is seen of what it prints")
	}
	if err := cmd.Wait(); err != nil {
		w.t.Fatal(err)
	}
	w.until(`!document.querySelector("#build[data-follow]") && document.querySelector("#build")`)
	w.see("me/live")
	if got := w.ask(`document.querySelectorAll(".step.running").length`); got != "0" {
		w.t.Errorf("%s steps run", got)
	}
}

// changes names and removes an image, and forgets a build, each after a question; elsewhere nothing leads there.
func (w *world) changes(address string) {
	w.open(address + "images")
	if got := w.ask(`document.querySelector("a[href^=change]")`); got != "null" {
		w.t.Error("the page may change the store without being told so")
	}
	address = w.serve("--allow-changes")
	answer := func(link, button string) {
		w.t.Helper()
		w.do(chromedp.Click(link), chromedp.WaitVisible(`//button[text()="`+button+`"]`))
	}
	yes := func(button string) {
		w.t.Helper()
		w.do(chromedp.Click(`//button[text()="` + button + `"]`))
		w.see("Done")
	}
	w.open(address + "images")
	w.picture("page-changes")
	answer(`//tr[contains(., "`+first+`")]//a[text()="Name"]`, "Give the name")
	w.ask(`document.querySelector("input[name=text]").value = "me/named:1"`)
	yes("Give the name")
	w.open(address + "images")
	answer(`//a[@title="Remove me/named:1"]`, "Remove it")
	w.see("keeps its other names")
	w.do(chromedp.Click(`//a[text()="Leave it as it is"]`))
	w.see("me/named:1", "Alone")
	answer(`//a[@title="Remove me/named:1"]`, "Remove it")
	yes("Remove it")
	w.see("The name me/named:1 is removed")
	w.open(address + "images")
	if got := w.ask(`document.body.innerText.includes("me/named:1")`); got != "false" {
		w.t.Error("me/named:1 is there")
	}
	w.open(address + "builds")
	before := w.ask(`document.querySelectorAll("#list tbody tr").length`)
	answer(`//table[@id="list"]//tr[contains(., "me/live")]//a[contains(., "Forget")]`, "Forget it")
	yes("Forget it")
	w.open(address + "builds")
	if after := w.ask(`document.querySelectorAll("#list tbody tr").length`); after == before {
		w.t.Errorf("%s builds are remembered", after)
	}
}

// contained opens the exported file, without a server.
func (w *world) contained(string) {
	file := filepath.Join(w.dir, "image.html")
	w.strata("page", "-o", file, second)
	w.open("file://" + file)
	w.see(second, "Base image")
	w.until(`document.querySelector(".detail.seen .window .item")`)
	w.do(chromedp.Click(`//ol//a[contains(., "pip install -r")]`))
	w.until(`document.querySelector(".detail.seen .command").innerText.includes("pip install -r requirements.txt")`)
	w.until(`document.querySelector(".detail.seen .window .item")`)
	w.key("/", "bottle.py")
	w.see("found")
	w.key(kb.Enter, kb.Enter)
	w.until(`document.querySelector("#preview[open]")?.innerText.includes("Who made it")`)
	w.key(kb.Escape)
	w.do(chromedp.Click(`//nav[@class="tabs"]//a[text()="Size"]`))
	w.until(`document.querySelector("#bytes").offsetParent && !document.querySelector("#image").offsetParent`)
	w.do(chromedp.Click(`//nav[@class="tabs"]//a[text()="Packages"]`))
	w.until(`document.querySelector("#packages").innerText.includes("bottle")`)
}

// hostile builds an image whose files, labels, commands and output are markup, and looks at it on the server and in a
// file: nothing of it runs, which would be seen on the console too, since the policy forbids it.
func (w *world) hostile(address string) {
	evil := `<script>pwned=1</script><img src=x onerror=pwned=1><svg onload=pwned=1>`
	w.write("hostile/Dockerfile", "FROM busybox\nLABEL evil='"+evil+"</script><script>pwned=1</script>' turned=\"\u202eleft\"\nENV EVIL='"+evil+"'\nCOPY . /hostile\n"+
		"RUN printf '%s\\n\\033]0;pwned\\007' '"+evil+"'; exit 0\nRUN ln -s b /a; ln -s a /b; ln -s . /hostile/self\n")
	w.write("hostile/<img src=x onerror=pwned=1>", evil)
	w.write("hostile/script<", "</pre><script>pwned=1</script>\x1b[2J\u202e")
	w.strata("build", "-q", "-t", "me/hostile", filepath.Join(w.dir, "hostile"))
	file := filepath.Join(w.dir, "hostile.html")
	w.strata("page", "-o", file, "me/hostile")
	w.open(address + "builds")
	build := w.ask(`document.querySelector("#list a").href`)
	for _, v := range []string{
		view(address+"image", "image", "me/hostile"), view(address+"image", "image", "me/hostile", "row", "1"), view(address+"files", "image", "me/hostile"), view(address+"bytes", "image", "me/hostile"),
		view(address+"settings", "image", "me/hostile"), view(address+"compare", "image", "busybox", "with", "me/hostile"), build, "file://" + file, "file://" + file + "#settings", "file://" + file + "#bytes",
	} {
		w.open(v)
		w.until(`document.body.innerText.length > 100`)
		w.calm(v)
		if got := w.ask(`typeof pwned + " " + document.querySelectorAll("img, iframe, object, embed, [onerror], [onload]").length`); got != "undefined 0" {
			w.t.Errorf("%s: %s", v, got)
		}
		if got := w.ask(`/[\u202e\u001b]/.test(document.documentElement.outerHTML)`); got != "false" {
			w.t.Errorf("%s has characters that turn the order round, or escapes", v)
		}
	}
	w.open(view(address+"files", "image", "me/hostile"))
	w.until(`document.querySelector(".window .item")`)
	w.key("/", "script<")
	w.see("1 found")
	w.key(kb.Enter, kb.Enter)
	w.until(`document.querySelector("#preview[open] pre")?.innerText.includes("<script>pwned=1</script>")`)
	w.see("\\u202e")
}

func (w *world) phone(address string) {
	w.scheme("light", 390, 844, 2)
	w.open(address)
	w.until(`document.querySelector(".details .window .item")`)
	if got := w.ask(`document.documentElement.scrollWidth <= innerWidth`); got != "true" {
		w.t.Errorf("it is %s wide on a screen of %s", w.ask(`document.documentElement.scrollWidth`), w.ask(`innerWidth`))
	}
	w.picture("page-phone")
	for _, v := range []string{"files", "bytes", "packages", "vulnerabilities", "settings", "compare"} {
		w.open(view(address+v, "image", second))
		if got := w.ask(`document.documentElement.scrollWidth <= innerWidth`); got != "true" {
			w.t.Errorf("%s is %s wide on a screen of %s", v, w.ask(`document.documentElement.scrollWidth`), w.ask(`innerWidth`))
		}
	}
}

func (w *world) dark(address string) {
	w.scheme("dark", 1280, 860, 1)
	w.open(address)
	w.until(`document.querySelector(".details .window .item")`)
	if got := w.ask(`getComputedStyle(document.body).backgroundColor`); got == "rgb(255, 255, 255)" {
		w.t.Errorf("the ground is %s", got)
	}
	w.picture("page-dark")
	w.open(view(address+"bytes", "image", second))
	w.picture("page-size-dark")
}

// withoutScript reads what is text.
func (w *world) withoutScript(address string) {
	call(w, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	defer call(w, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: false})
	w.do(chromedp.Navigate(view(address+"image", "image", second)))
	w.do(chromedp.Click(`//ol//a[contains(., "COPY . .")]`), chromedp.WaitVisible(`//li[contains(., "/app/main.py")]`))
	w.do(chromedp.Click(`//li/a[contains(., "/app/main.py")]`), chromedp.WaitVisible(`//pre[contains(., "# changed")]`))
	w.do(chromedp.Navigate(view(address+"files", "image", second)), chromedp.Click(`//td/a[contains(., "app")]`),
		chromedp.WaitVisible(`//td[contains(., "main.py")]`))
}

// fast looks at how soon the layers are there, and at a large directory. What it takes is printed with -v; a
// machine that is busy may take ten times as long as a person should wait.
func (w *world) fast(address string) {
	paint := func() float64 {
		w.until(`performance.getEntriesByName("first-contentful-paint").length`)
		ms, err := strconv.ParseFloat(w.ask(`performance.getEntriesByName("first-contentful-paint")[0].startTime`), 64)
		if err != nil {
			w.t.Fatal(err)
		}
		return ms
	}
	nothing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<!doctype html><title>nothing</title><p>nothing")
	}))
	defer nothing.Close()
	w.do(chromedp.Navigate(nothing.URL))
	w.t.Logf("first paint of a page with one word: %.0f ms", paint())
	w.open(w.serve(first))
	ms := paint()
	w.t.Logf("first paint of %s: %.0f ms", first, ms)
	if ms > 2000 {
		w.t.Error("it comes too late")
	}

	name := filepath.Join(w.dir, "large.tar")
	f, err := os.Create(name)
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.Close()
	out := tar.NewWriter(f)
	for i := range *files {
		if err := out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Mode: 0o644, Name: fmt.Sprintf("d/file-%06d", i)}); err != nil {
			w.t.Fatal(err)
		}
	}
	if err := out.Close(); err != nil {
		w.t.Fatal(err)
	}
	w.strata("import", name, "me/large")
	w.open(w.serve("me/large"))
	ms = paint()
	began := time.Now()
	w.until(`document.querySelector(".window .item")`)
	w.t.Logf("%d files: first paint %.0f ms, the tree %v later", *files, ms, time.Since(began).Round(time.Millisecond))
	timed := func(what, code string) {
		ms, err := strconv.ParseFloat(w.ask(`(() => { const began = performance.now(); `+code+`; document.body.offsetHeight; return performance.now() - began; })()`), 64)
		if err != nil {
			w.t.Fatal(err)
		}
		w.t.Logf("%s: %.0f ms", what, ms)
		if ms > 3000 {
			w.t.Errorf("%s takes too long", what)
		}
	}
	timed("all of it", `document.querySelector(".choice button:last-child").click()`)
	w.until(`document.querySelectorAll(".item").length > 10`)
	timed("its end", `const s = document.querySelector(".window"); s.scrollTop = s.scrollHeight; s.dispatchEvent(new Event("scroll"))`)
	w.see(fmt.Sprintf("file-%06d", *files-1))
	timed("a filter", `const i = document.querySelector(".tools input"); i.value = "77"; i.dispatchEvent(new Event("input"))`)
	w.see("found")
	if lines := w.ask(`document.querySelectorAll(".item").length`); len(lines) > 3 {
		w.t.Errorf("%s lines are drawn", lines)
	}
}

// anotherSite is a page that knows the address, and gets nothing of it.
func (w *world) anotherSite(address string) {
	w.do(chromedp.Navigate("about:blank"))
	ctx, stop := context.WithTimeout(w.browser, *wait)
	defer stop()
	got, err := chromedp.Run(ctx, chromedp.Evaluate[string](fmt.Sprintf(`fetch(%q).then((a) => a.text(), () => "refused")`, address+"images"), chromedp.EvalAwaitPromise))
	if err != nil {
		w.t.Fatal(err)
	}
	if got != "refused" {
		w.t.Errorf("another site's page reads %s", got)
	}
	// The browser says that it was refused, in two lines, some time later.
	for range 100 {
		w.mu.Lock()
		said := len(w.faults)
		if said >= 2 {
			w.faults = nil
		}
		w.mu.Unlock()
		if said >= 2 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	w.t.Error("the browser does not say that it was refused")
}
