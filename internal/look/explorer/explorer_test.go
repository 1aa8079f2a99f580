package explorer

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/look/anatomy"
	"github.com/strata-build/strata/internal/look/anatomy/anatomytest"
	"github.com/strata-build/strata/internal/transfer/archive"
)

// session is an explorer without a terminal.
type session struct {
	t testing.TB
	m *model
	// quit is true when the explorer would have ended, shell is what it would have started last.
	quit  bool
	shell digest.Digest
}

func start(t testing.TB, src archive.Source) *session {
	t.Helper()
	m := anatomytest.Mover(t)
	anatomytest.Load(t, m, anatomytest.Save(t, src))
	im, err := anatomy.Open(t.Context(), m, src.Names[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { im.Close() })
	tl, err := im.Timeline(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s := &session{t: t}
	s.m = newModel(t.Context(), Options{Image: im, Shell: func(id digest.Digest) *exec.Cmd {
		s.shell = id
		return exec.Command("true")
	}}, tl)
	s.send(tea.WindowSizeMsg{Width: 100, Height: 30})
	return s
}

// send gives the explorer a message, and what comes of it.
func (s *session) send(msg tea.Msg) {
	for range 10 {
		_, cmd := s.m.Update(msg)
		if cmd == nil {
			return
		}
		switch msg = cmd(); msg.(type) {
		case tea.QuitMsg:
			s.quit = true
			return
		case detail, statusMsg:
		default:
			return
		}
	}
}

// special are the keys that are no letters.
var special = map[string]rune{
	"enter": tea.KeyEnter, "tab": tea.KeyTab, "esc": tea.KeyEscape, "up": tea.KeyUp, "down": tea.KeyDown, "left": tea.KeyLeft,
	"right": tea.KeyRight, "pgup": tea.KeyPgUp, "pgdown": tea.KeyPgDown, "home": tea.KeyHome, "end": tea.KeyEnd,
	"backspace": tea.KeyBackspace, "f1": tea.KeyF1, "space": tea.KeySpace,
}

// keyOf is the message of a key as the list of actions names it.
func keyOf(name string) tea.KeyPressMsg {
	var k tea.Key
	if rest, ok := strings.CutPrefix(name, "ctrl+"); ok {
		k.Mod, name = tea.ModCtrl, rest
	}
	if rest, ok := strings.CutPrefix(name, "shift+"); ok {
		k.Mod, name = tea.ModShift, rest
	}
	if code, ok := special[name]; ok {
		k.Code = code
		return tea.KeyPressMsg(k)
	}
	k.Code = []rune(name)[0]
	if k.Mod == 0 {
		k.Text = name
	}
	return tea.KeyPressMsg(k)
}

// press presses keys, which blanks separate.
func (s *session) press(keys string) {
	for _, k := range strings.Fields(keys) {
		s.send(keyOf(k))
	}
}

func (s *session) typed(text string) {
	for _, r := range text {
		s.send(tea.KeyPressMsg{Code: r, Text: string(r)})
	}
}

// plain is the screen without attributes.
func (s *session) plain() string { return ansi.Strip(s.m.draw()) }

// see wants patterns on the screen; those that begin with "!" must not be there.
func (s *session) see(patterns ...string) {
	s.t.Helper()
	text := s.plain()
	for _, p := range patterns {
		p, not := strings.CutPrefix(p, "!")
		if regexp.MustCompile("(?m)"+p).MatchString(text) == not {
			s.t.Errorf("%q, not: %v:\n%s", p, not, text)
		}
	}
}

// node is the path of the selected line.
func (s *session) node() string { return s.m.timeline.Path(s.m.node()) }

// sample has everything that layers do to paths. Its rows: COPY layer0, COPY layer1, COPY layer2, CMD.
func sample(t testing.TB) archive.Source {
	return anatomytest.Image(t, "me/app:1",
		anatomytest.Tar(t, "dir/", "dir/a=old", "dir/gone=was here", "dir/sub/", "dir/sub/deep=1", "op/", "op/x=x", "op/y=y", "swap=a file", "same=s",
			"sym~>dir/a", "日本語の名前/", "日本語の名前/ファイル=wide", "bad\xff\xfe\x1b[31m=1"),
		anatomytest.Tar(t, "dir/", "dir/a=changed now", "dir/.wh.gone=", "op/", "op/.wh..wh..opq=", "op/z=z", "swap/", "swap/in=inside", "same=s",
			"file=new", "link->file", "long="+strings.Repeat("0123456789", 30)+"end\n"+strings.Repeat("line\n", 100), "binary=\x00\x01\x02"),
		anatomytest.Tar(t, "dir/", "dir/b=bb", "bigger="+strings.Repeat("x", 5000)),
	)
}

func TestFirstScreen(t *testing.T) {
	s := start(t, sample(t))
	s.see(`^ me/app:1  [0-9a-f]{12}  3 layers  `, `▌Layers 3/3  \(c: 1 config rows\)`, `> +5kB COPY layer2 /`, `Changes of this layer`, `\+ .* bigger`, `▾ dir/`, `\+ .* b *$`, `!gone`, `step [0-9a-f]{12}`)
	s.press("k")
	s.see(`\+ .* file`, `~ .* a *$`, `- .* gone`, `= .* same`, `~ .* swap/`, `\+ .* in *$`, `- .* x *$`, `- .* y *$`, `\+ .* z *$`, `\+ .* link`)
	s.press("g")
	s.see(`> +[0-9]+B COPY layer0 /`, `bad\?\?\?\[31m`, `日本語の名前/`, `sym → dir/a`)
	if strings.Contains(s.m.draw(), "\x1b[31mB") || strings.Contains(s.m.draw(), "\xff") {
		t.Error("a name reached the terminal as it is")
	}
}

func TestWholeTreeAndFolding(t *testing.T) {
	s := start(t, sample(t))
	s.press("a")
	s.see(`All files up to this layer`, `  .* ▾ dir/`, `  .* sub/`, `!gone`, ` file *$`)
	s.press("ctrl+l")
	s.see(`Changes of this layer`)
	s.press("ctrl+a")
	s.see(`All files`)
	s.press("tab C")
	s.see(`▸ dir/`, `!deep`)
	s.press("/")
	s.typed("dir$")
	s.press("enter")
	if s.node() != "dir" {
		t.Fatalf("the search came to %q", s.node())
	}
	s.press("enter")
	s.see(`▾ dir/`, `▸ sub/`)
	s.press("l") // open already
	s.see(`▾ dir/`)
	s.press("space")
	s.see(`▸ dir/`)
	s.press("right down down down")
	if s.node() != "dir/sub" {
		t.Errorf("at %q", s.node())
	}
	s.press("E")
	s.see(`deep`)
	if s.node() != "dir/sub" {
		t.Errorf("after opening all at %q", s.node())
	}
	s.press("j h")
	if s.node() != "dir/sub" {
		t.Errorf("the directory above is %q", s.node())
	}
	s.press("h h h h")
	if s.m.focus != layersPane {
		t.Error("left of the topmost directory are the layers")
	}
}

func TestFilter(t *testing.T) {
	s := start(t, sample(t))
	s.press("a f")
	s.typed("DEEP")
	s.see(`nothing matches`) // large letters are what they are
	s.press("ctrl+u")
	s.typed("dee")
	s.see(`filter: dee`, `deep`, `sub/`, `!bigger`)
	s.press("enter")
	if s.m.focus != treePane {
		t.Error("the filter leads to the tree")
	}
	s.press("esc")
	s.see(`bigger`, `!filter:`)
	s.press("f")
	s.typed("^/dir/[ab]$")
	s.see(` a *$`, ` b *$`, `!deep`)
	s.press("enter f ctrl+w")
	s.typed("b[")
	s.see(`nothing matches`) // an invalid expression is a text
	s.press("esc")
	s.see(`filter: \^/dir/\[ab\]\$`, ` b *$`)
	s.press("f backspace backspace ctrl+c")
	s.see(`filter: \^/dir/\[ab\]\$`)
	s.press("f ctrl+u")
	s.send(tea.PasteMsg{Content: "big\nger\x1b"})
	s.see(`filter: bigger`)
}

func TestSearch(t *testing.T) {
	s := start(t, sample(t))
	s.press("a tab g /")
	s.typed("^[ab]$")
	s.press("enter")
	var order []string
	for range 3 {
		order = append(order, s.node())
		s.press("n")
	}
	if got := strings.Join(order, " "); got != "dir/a dir/b dir/a" {
		t.Errorf("n: %s", got)
	}
	s.press("N N")
	if s.node() != "dir/b" {
		t.Errorf("N: %s", s.node())
	}
	s.press("C") // what is found in a closed directory is shown
	s.press("n")
	s.see(`▾ dir/`)
	s.press("/")
	s.typed("sub/deep")
	s.press("enter")
	if s.node() != "dir/sub/deep" {
		t.Errorf("with a slash: %s", s.node())
	}
	s.press("/")
	s.typed("nowhere")
	s.press("enter")
	s.see(`nothing here matches nowhere`)
}

func TestKinds(t *testing.T) {
	s := start(t, sample(t))
	s.press("k")
	for _, k := range []struct{ keys, gone, stays string }{
		{"+", `\+ .* file`, `~ .* a *$`}, {"~", `~ .* a *$`, `\+ .* file`}, {"m", `~ .* a *$`, `\+ .* file`}, {"-", `- .* gone`, `\+ .* file`},
		{"ctrl+r", `- .* gone`, `\+ .* file`}, {"=", `= .* same`, `\+ .* file`}, {"ctrl+u", `= .* same`, `\+ .* file`},
	} {
		s.press(k.keys)
		s.see("!"+k.gone, k.stays, `: hidden`)
		s.press(k.keys)
		s.see(k.gone, k.stays, `: shown`)
	}
	s.press("a =")
	s.see(`!sym`, `\+ .* file`) // of the whole tree it is what the layer left alone
}

func TestSortBySize(t *testing.T) {
	s := start(t, sample(t))
	s.press("k")
	at := func(name string) int { return strings.Index(s.plain(), " "+name) }
	if at("file ") > at("long ") {
		t.Error("not by name")
	}
	s.press("s")
	s.see(`by size`)
	if at("file ") < at("long ") {
		t.Error("not by size")
	}
	s.press("ctrl+o")
	if at("file ") > at("long ") {
		t.Error("not by name again")
	}
}

func TestConfigRows(t *testing.T) {
	s := start(t, sample(t))
	s.press("c")
	s.see(`Layers 3/4`, `config CMD`)
	s.press("G")
	s.see(`\+ CMD=\["x"\]`, `>  config CMD`)
	s.press("a")
	s.see(`bigger`)
	s.press("a c")
	s.see(`Layers 3/3`, `> +5kB COPY layer2`)
}

func TestDetails(t *testing.T) {
	s := start(t, sample(t))
	s.press("k tab /")
	s.typed("^long$")
	s.press("enter v")
	s.see(`/long  .*at layer 2  1-27 of 101`, `0123456789.*…`, `!end`)
	s.press("G")
	s.see(`75-101 of 101`)
	s.press("g pgdown")
	s.see(`27-53 of`)
	s.press("u g")
	for range 40 {
		s.press("right")
	}
	s.see(`column \d+`, `789end$`, `!…$`)
	s.press("0 l")
	s.see(`column 9`)
	s.press("left")
	s.see(`!column`)
	s.press("h")
	s.see(`Changes of this layer`)
	s.press("/")
	s.typed("^binary$")
	s.press("enter enter")
	s.see(`00000000  00 01 02`)
	s.press("q")
	if s.quit {
		t.Fatal("q leaves the detail first")
	}
	s.press("b")
	s.see(`Who put it there`, `\+ added by row|\+ added by step`)
	s.press("esc /")
	s.typed("^gone$")
	s.press("enter v") // removed: what it was
	s.see(`/dir/gone  .*at layer 1`, `was here`)
	s.press("esc w")
	s.see(`Wasted space`, `/swap +of layer 1|/swap  of layer 1`, `removed by layer 2`)
	s.press("tab ?")
	s.see(`Keys`, `go to the other pane`)
	s.press("q /")
	s.typed("^link$")
	s.press("enter v")
	s.see(`/link  .*at layer 2`, `new`)
	s.press("esc k")
	s.send(tea.WindowSizeMsg{Width: 30, Height: 10})
	s.press("w")
	for i, l := range s.m.detail.lines { // wrapped, and nothing of it is lost
		if ansi.StringWidth(l) > s.m.rightWidth()-1 {
			t.Errorf("line %d has %d columns: %q", i, ansi.StringWidth(l), l)
		}
	}
}

func TestSymlinksAndDirectoriesHaveNoPreview(t *testing.T) {
	s := start(t, sample(t))
	s.press("g tab /")
	s.typed("^sym$")
	s.press("enter v")
	s.see(`a symbolic link to dir/a`)
	s.press("e")
	s.see(`only files can be extracted`)
	s.press("/")
	s.typed("^dir$")
	s.press("enter v")
	s.see(`Changes of this layer`)
}

func TestExtract(t *testing.T) {
	t.Chdir(t.TempDir())
	s := start(t, sample(t))
	s.press("k tab /")
	s.typed("dir/a")
	s.press("enter e")
	s.see(`extract to: a `)
	s.press("esc")
	s.see(`!extract to`)
	s.press("ctrl+e backspace")
	s.typed("out")
	s.press("enter")
	s.see(`wrote 11B to out`)
	if data, err := os.ReadFile("out"); err != nil || string(data) != "changed now" {
		t.Fatalf("%q, %v", data, err)
	}
	s.press("e ctrl+u")
	s.typed("out")
	s.press("enter")
	s.see(`out is there already`)
	if err := os.Symlink("elsewhere", "dangling"); err != nil {
		t.Fatal(err)
	}
	s.press("e ctrl+u")
	s.typed("dangling")
	s.press("enter")
	s.see(`is there already`)
	s.press("e ctrl+u")
	s.typed("no/such/dir")
	s.press("enter")
	s.see(`no such file or directory`)
	if left, _ := filepath.Glob("*"); len(left) != 2 {
		t.Errorf("left behind: %v", left)
	}
}

func TestShell(t *testing.T) {
	s := start(t, sample(t))
	s.press("k x")
	if want := s.m.im.Rows[1].ID; s.shell != want {
		t.Errorf("the shell is in %s, want %s", s.shell, want)
	}
	s.m.Update(statusMsg("the shell ended with: exit status 127"))
	s.see(`the shell ended with`, `Layers 2/3`)
}

func TestOwnersAndQuit(t *testing.T) {
	s := start(t, sample(t))
	s.send(tea.WindowSizeMsg{Width: 80, Height: 24})
	s.see(`!-rw-r--r--`)
	s.press("o")
	s.see(`-rw-r--r-- +0:0`)
	s.press("ctrl+b")
	s.see(`!-rw-r--r--`)
	s.press("q")
	if !s.quit {
		t.Error("q leaves")
	}
}

func TestMouse(t *testing.T) {
	s := start(t, sample(t))
	s.send(tea.MouseClickMsg{X: 5, Y: 2})
	s.see(`Layers 1/3`)
	s.send(tea.MouseWheelMsg{X: 5, Y: 2, Button: tea.MouseWheelDown})
	s.see(`Layers 2/3`)
	s.send(tea.MouseWheelMsg{X: 5, Y: 2, Button: tea.MouseWheelUp})
	at := 0
	for i, l := range strings.Split(s.plain(), "\n") {
		if strings.Contains(l, "dir/") && at == 0 {
			at = i
		}
	}
	s.send(tea.MouseClickMsg{X: 60, Y: at})
	if s.node() != "dir" || s.m.focus != treePane {
		t.Fatalf("clicked at %q", s.node())
	}
	s.send(tea.MouseClickMsg{X: 60, Y: at})
	s.see(`▸ dir/`)
	s.send(tea.MouseWheelMsg{X: 60, Y: 5, Button: tea.MouseWheelDown})
	if s.node() == "dir" {
		t.Error("the wheel moves")
	}
	for _, msg := range []tea.Msg{tea.MouseClickMsg{X: 500, Y: 500}, tea.MouseClickMsg{X: -1, Y: -1}, tea.MouseClickMsg{X: 60, Y: 28}, tea.MouseClickMsg{}} {
		s.send(msg)
		s.plain()
	}
}

// TestEveryKey presses each key that the list of keys has, in each pane.
func TestEveryKey(t *testing.T) {
	s := start(t, sample(t))
	for _, focus := range []string{"", "tab", "tab w"} {
		for _, a := range actions() {
			for _, k := range a.keys {
				s.m = newModel(t.Context(), s.m.options, s.m.timeline)
				s.press(focus)
				s.send(keyOf(k))
				check(t, s, focus+" "+k)
			}
		}
	}
}

func TestImagesWithLittle(t *testing.T) {
	for name, src := range map[string]archive.Source{
		"no rows": anatomytest.Empty(t, "me/none:1"), "no layers": anatomytest.Image(t, "me/config:1"),
		"an empty layer": anatomytest.Image(t, "me/empty:1", anatomytest.Tar(t)),
	} {
		s := start(t, src)
		for _, a := range actions() {
			s.send(keyOf(a.keys[0]))
			check(t, s, name+": "+a.keys[0])
			s.press("esc")
		}
		s.see(`0B`)
	}
}

// check wants the screen to be as large as the terminal: no line wider, and as many.
func check(t testing.TB, s *session, what string) {
	t.Helper()
	if s.m.width < 20 || s.m.height < 6 {
		return
	}
	text := s.m.draw()
	lines := strings.Split(text, "\n")
	if len(lines) != s.m.height {
		t.Errorf("%s: %d lines on a screen of %d:\n%s", what, len(lines), s.m.height, ansi.Strip(text))
	}
	for i, l := range lines {
		if w := ansi.StringWidth(l); w != s.m.width {
			t.Errorf("%s: line %d has %d columns of %d: %q", what, i+1, w, s.m.width, l)
		}
	}
}
