package sshagent

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]Spec{
		"default": {ID: "default"}, "": {ID: "default"}, "a": {ID: "a"}, "a=": {ID: "a"},
		"a=/sock": {ID: "a", Paths: []string{"/sock"}}, "a=k1,k2": {ID: "a", Paths: []string{"k1", "k2"}},
		"=k1": {ID: "default", Paths: []string{"k1"}}, "a=b=c": {ID: "a", Paths: []string{"b=c"}},
	} {
		if got, err := Parse(text); err != nil || got.ID != want.ID || !slices.Equal(got.Paths, want.Paths) {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	if _, err := Parse("a=k1,,k2"); err == nil {
		t.Error("an empty path is taken")
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"default", "a=/sock", "a=k1,k2", "=", "a=,"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(text)
		if err == nil && (s.ID == "" || slices.Contains(s.Paths, "")) {
			t.Errorf("%q: %+v", text, s)
		}
	})
}

// writeKey makes a key file and returns its public half.
func writeKey(t *testing.T, path, passphrase string) ssh.PublicKey {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	check(t, err)
	var block *pem.Block
	if passphrase == "" {
		block, err = ssh.MarshalPrivateKey(private, "")
	} else {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte(passphrase))
	}
	check(t, err)
	check(t, os.WriteFile(path, pem.EncodeToMemory(block), 0o600))
	key, err := ssh.NewPublicKey(public)
	check(t, err)
	return key
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Steps can list the keys and sign with them, and change nothing, whether the agent is ours or the person's.
func TestServe(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	key := writeKey(t, filepath.Join(dir, "key"), "")
	own, err := Open([]Spec{{ID: "own", Paths: []string{filepath.Join(dir, "key")}}})
	check(t, err)

	// The person's own agent would let itself be changed.
	theirs := agent.NewKeyring()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	check(t, err)
	check(t, theirs.Add(agent.AddedKey{PrivateKey: private}))
	socket := filepath.Join(dir, "theirs")
	listener, err := net.Listen("unix", socket)
	check(t, err)
	defer listener.Close()
	go func() {
		for conn, err := listener.Accept(); err == nil; conn, err = listener.Accept() {
			go agent.ServeAgent(theirs, conn)
		}
	}()
	t.Setenv("SSH_AUTH_SOCK", socket)
	forwarded, err := Open([]Spec{{ID: DefaultID}})
	check(t, err)

	for id, agents := range map[string]*Agents{"own": own, DefaultID: forwarded} {
		// A directory whose path is too long for a socket's address.
		deep := filepath.Join(dir, strings.Repeat("d", 120), id)
		check(t, os.MkdirAll(deep, 0o755))
		stop, err := agents.Serve(ctx, id, deep, "socket", 0o640, 12, 34)
		check(t, err)
		info, err := os.Stat(filepath.Join(deep, "socket"))
		check(t, err)
		if info.Mode().Perm() != 0o640 {
			t.Errorf("%s: mode %v", id, info.Mode())
		}
		conn := connect(t, deep)
		client := agent.NewClient(conn)
		keys, err := client.List()
		check(t, err)
		if len(keys) != 1 || id == "own" && string(keys[0].Marshal()) != string(key.Marshal()) {
			t.Fatalf("%s: keys %v", id, keys)
		}
		signature, err := client.Sign(keys[0], []byte("data"))
		check(t, err)
		check(t, keys[0].Verify([]byte("data"), signature))
		for what, change := range map[string]error{
			"add": client.Add(agent.AddedKey{PrivateKey: private}), "remove": client.Remove(keys[0]),
			"remove all": client.RemoveAll(), "lock": client.Lock([]byte("x")),
		} {
			if change == nil {
				t.Errorf("%s: a step can %s", id, what)
			}
		}
		if keys, err := client.List(); err != nil || len(keys) != 1 {
			t.Errorf("%s: afterwards %v, %v", id, keys, err)
		}
		stop()
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Errorf("%s: the connection outlives its step", id)
		}
	}
	if keys, err := theirs.List(); err != nil || len(keys) != 1 {
		t.Errorf("the person's agent has %v, %v", keys, err)
	}
}

func connect(t *testing.T, dir string) net.Conn {
	t.Helper()
	d, err := os.Open(dir)
	check(t, err)
	defer d.Close()
	t.Chdir(dir)
	conn, err := net.Dial("unix", "socket")
	check(t, err)
	return conn
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("SSH_AUTH_SOCK", "")
	writeKey(t, filepath.Join(dir, "protected"), "hush")
	check(t, os.WriteFile(filepath.Join(dir, "text"), []byte("hush"), 0o600))
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "socket"), Net: "unix"})
	check(t, err)
	defer listener.Close()
	path := func(name string) string { return filepath.Join(dir, name) }
	for _, test := range []struct {
		specs []Spec
		want  string
	}{
		{[]Spec{{ID: "default"}}, "default: SSH_AUTH_SOCK names no agent"},
		{[]Spec{{ID: "a", Paths: []string{path("missing")}}}, "no such file"},
		{[]Spec{{ID: "a", Paths: []string{path("text")}}}, "neither an agent's socket nor a private key"},
		{[]Spec{{ID: "a", Paths: []string{path("protected")}}}, "the key has a passphrase"},
		{[]Spec{{ID: "a", Paths: []string{path("socket"), path("socket")}}}, "one socket or several keys"},
		{[]Spec{{ID: "a", Paths: []string{path("socket")}}, {ID: "a", Paths: []string{path("socket")}}}, "given twice"},
	} {
		_, err := Open(test.specs)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v: %v, want %s", test.specs, err, test.want)
		} else if strings.Contains(err.Error(), "hush") {
			t.Errorf("the error says too much: %v", err)
		}
	}
	if (*Agents)(nil).Has("default") {
		t.Error("a build without --ssh has an agent")
	}
}

// A step may send anything.
func FuzzAnswer(f *testing.F) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	keys := agent.NewKeyring().(agent.ExtendedAgent)
	if err := keys.Add(agent.AddedKey{PrivateKey: private}); err != nil {
		f.Fatal(err)
	}
	known, err := keys.List()
	if err != nil {
		f.Fatal(err)
	}
	request := ssh.Marshal(struct {
		Blob, Data []byte
		Flags      uint32
	}{known[0].Marshal(), []byte("data"), 2})
	for _, seed := range [][]byte{{requestIdentities}, append([]byte{signRequest}, request...), {signRequest, 0, 0, 0, 1}, {17}, {18}, {19}, {22}, {27, 0, 0, 0, 0}} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		if len(message) == 0 {
			return
		}
		reply := answer(keys, message)
		if want := map[byte]byte{requestIdentities: identitiesAnswer, signRequest: signResponse}[message[0]]; reply[0] != failure && reply[0] != want {
			t.Errorf("%x is answered by %x", message, reply)
		}
		if now, err := keys.List(); err != nil || len(now) != 1 {
			t.Errorf("%x leaves %v, %v", message, now, err)
		}
	})
}
