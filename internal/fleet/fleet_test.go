package fleet

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/sandbox/runner"
	"github.com/strata-build/strata/internal/sandbox/secret"
)

func TestChoose(t *testing.T) {
	w := func(name string, free int, lacks int64) candidate {
		return candidate{Presence{Name: name, Slots: 4, Free: free}, lacks}
	}
	const mb = 1 << 20
	for _, c := range []struct {
		name string
		all  []candidate
		send int64
		took time.Duration
		want string // a worker, "any" or "here"
	}{
		{"nobody", nil, 0, 0, "here"},
		{"the one that has the layers", []candidate{w("a", 4, 100*mb), w("b", 1, 0)}, 0, 0, "b"},
		{"of two that have them, the one with more room", []candidate{w("a", 1, 0), w("b", 2, 0)}, 0, 0, "b"},
		{"all busy", []candidate{w("a", 0, 0), w("b", 0, 0)}, 0, time.Minute, "any"},
		{"busy is passed over", []candidate{w("a", 0, 0), w("b", 1, 10*mb)}, 0, time.Minute, "b"},
		{"shorter than the way", []candidate{w("a", 4, 0)}, 0, 10 * time.Millisecond, "here"},
		{"shorter than sending", []candidate{w("a", 4, 0)}, 500 * mb, 2 * time.Second, "here"},
		{"longer than sending", []candidate{w("a", 4, 0)}, 500 * mb, 20 * time.Second, "a"},
		{"not known how long", []candidate{w("a", 4, 0)}, 500 * mb, 0, "a"},
		{"overbooked", []candidate{w("a", -2, 0)}, 0, 0, "any"},
	} {
		got := choose(c.all, c.send, c.took)
		text := got.worker
		if got.here {
			text = "here"
		} else if text == "" {
			text = "any"
		}
		if text != c.want {
			t.Errorf("%s: %s, want %s", c.name, text, c.want)
		}
	}
}

func TestSeal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "worker.key")
	id, err := OpenIdentity(path)
	if err != nil {
		t.Fatal(err)
	}
	again, err := OpenIdentity(path)
	if err != nil {
		t.Fatal(err)
	}
	public, _ := id.Public()
	if other, _ := again.Public(); other != public || !IsKey(public) {
		t.Errorf("the key is another when it is read again: %s, %s", public, other)
	}
	order := []byte(`{"id":"b.1"}`)
	sealed, err := seal(confidences{Secrets: map[string][]byte{"token": []byte("very secret")}}, order, public)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, []byte("very secret")) || bytes.Contains(sealed, []byte("dmVyeSBzZWNyZXQ")) {
		t.Error("the secret can be read")
	}
	c, err := again.open(sealed, order)
	if err != nil || string(c.Secrets["token"]) != "very secret" {
		t.Errorf("%q, %v", c.Secrets, err)
	}
	if _, err := again.open(sealed, []byte(`{"id":"b.1","step":"cat the secret"}`)); err == nil {
		t.Error("the box opens for another order")
	}
	stranger, err := OpenIdentity(filepath.Join(t.TempDir(), "worker.key"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stranger.open(sealed, order); err == nil {
		t.Error("another worker opens the box")
	}
	for _, damaged := range [][]byte{nil, []byte("{}"), sealed[:len(sealed)/2], bytes.Replace(sealed, []byte(`"box":"`), []byte(`"box":"AAAA`), 1)} {
		if _, err := again.open(damaged, order); err == nil {
			t.Errorf("a damaged box opens: %q", damaged)
		}
	}
	if _, err := seal(confidences{}, order, "XNONSENSE"); err == nil {
		t.Error("sealed for a key that is none")
	}
}

// A step with secrets is masked whatever the pieces are in which it prints them.
func TestOutputMasked(t *testing.T) {
	s := secret.Given(map[string][]byte{"token": []byte("very-secret-token")})
	if _, _, err := s.Get("token"); err != nil {
		t.Fatal(err)
	}
	text := "it is very-secret-token\nand " + strings.Repeat("x", maxOutput-3) + "very-secret-token at the end"
	for _, size := range []int{7, 30, 1000, len(text)} {
		var got bytes.Buffer
		o := &output{secrets: s, send: func(p []byte) { got.Write(p) }}
		for rest := []byte(text); len(rest) > 0; {
			n := min(size, len(rest))
			_, _ = o.Write(rest[:n])
			rest = rest[n:]
		}
		o.flush()
		if strings.Contains(got.String(), "secret") || !strings.HasSuffix(got.String(), "**** at the end") {
			t.Errorf("in pieces of %d: %.60q … %q", size, got.String(), got.String()[got.Len()-40:])
		}
	}
}

func TestHidden(t *testing.T) {
	for url, want := range map[string]string{
		"nats://me:secret@host:4222":               "nats://host:4222",
		"host:4222":                                "nats://host:4222",
		"tls://tok@a:1,nats://u:p@ss@b:2,nats://c": "tls://a:1,nats://b:2,nats://c",
	} {
		if got := Hidden(url); got != want {
			t.Errorf("%s: %s, want %s", url, got, want)
		}
	}
}

// someOrder is one that a worker takes.
func someOrder() *order {
	d := digest.FromString("layer")
	return &order{
		ID: "abc.1", From: "host", Key: digest.FromString("key"), Cache: "type=s3,bucket=b", Layers: []orderLayer{{DiffID: d}},
		Step: orderStep{Chain: []digest.Digest{d}, OS: "linux", Arch: "amd64", Run: dockerfile.Run{Args: []string{"/bin/sh", "-c", "true"}}, Observe: []bool{true}},
	}
}

func TestDecodeOrder(t *testing.T) {
	encode := func(o *order) []byte {
		data, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	if _, err := decodeOrder(encode(someOrder())); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(o *order){
		"an ID that is a pattern": func(o *order) { o.ID = "abc.>" },
		"no ID":                   func(o *order) { o.ID = "" },
		"a key that is none":      func(o *order) { o.Key = "../../key" },
		"an unknown layer":        func(o *order) { o.Step.Chain = append(o.Step.Chain, digest.FromString("other")) },
		"a layer that is a path":  func(o *order) { o.Layers[0].DiffID, o.Step.Chain[0] = "../x", "../x" },
		"no command":              func(o *order) { o.Step.Run.Args = nil },
		"observed without layers": func(o *order) { o.Step.Observe = []bool{true, true} },
		"all rights":              func(o *order) { o.Step.Run.Insecure = true },
		"the worker's network":    func(o *order) { o.Step.Network = runner.NetworkHost },
		"a cgroup":                func(o *order) { o.Step.Common.Machine.CgroupParent = "/system.slice" },
		"the worker itself":       func(o *order) { o.Step.Common.Machine.Hosts = []runner.Host{{Name: "h", IP: runner.HostGateway}} },
		"a script elsewhere":      func(o *order) { o.Step.Run.Script = &dockerfile.Script{Name: "../../x"} },
		"an agent":                func(o *order) { o.Step.Run.Mounts = []dockerfile.Mount{{Type: dockerfile.MountSSH}} },
		"a mount of nothing": func(o *order) {
			o.Step.Mounts = []orderMount{{Mount: dockerfile.Mount{Type: dockerfile.MountBind, Target: "/x", Source: "/"}}}
		},
		"a mount of an unknown type": func(o *order) { o.Step.Mounts = []orderMount{{Mount: dockerfile.Mount{Type: "host", Target: "/x"}}} },
		"a mount on the root": func(o *order) {
			o.Step.Mounts = []orderMount{{Mount: dockerfile.Mount{Type: dockerfile.MountTmpfs, Target: "/"}}}
		},
		"a mount that climbs": func(o *order) {
			o.Step.Mounts = []orderMount{{Mount: dockerfile.Mount{Type: dockerfile.MountTmpfs, Target: "/../x"}}}
		},
		"a mount of what is not there": func(o *order) {
			o.Step.Mounts = []orderMount{{State: true, Chain: []digest.Digest{digest.FromString("other")}}}
		},
	} {
		o := someOrder()
		change(o)
		if _, err := decodeOrder(encode(o)); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// Whatever comes through the queue, a worker does not fall over it.
func FuzzDecodeOrder(f *testing.F) {
	data, err := json.Marshal(someOrder())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"id":"a.b","layers":[{}],"step":{"run":{"Args":["x"]}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		o, err := decodeOrder(data)
		if err != nil {
			return
		}
		for _, chain := range o.Step.chains() {
			for _, d := range chain {
				if d.Validate() != nil {
					t.Fatal(fmt.Errorf("the layer %q has no digest", d))
				}
			}
		}
	})
}
