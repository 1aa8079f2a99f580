// Package sshagent lets RUN steps use ssh keys that they cannot read: what --ssh names. A step talks to an agent through
// a socket; the agent is the person's own, or one in this process that holds key files. Either way a step can list the
// keys and have something signed, and change nothing. No key leaves this process, and none gets on a disk.
package sshagent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/strata-build/strata/internal/layer/identity"
)

// DefaultID is the id that --ssh and RUN --mount=type=ssh have without one.
const DefaultID = "default"

// maxKey is how many bytes are read of a key file, BuildKit's number (session/sshforward/sshprovider).
const maxKey = 100 << 10

// Spec is one --ssh: an id, and the socket of an agent or the files of keys.
type Spec struct {
	ID    string
	Paths []string // none: the socket that SSH_AUTH_SOCK names
}

// Parse reads what --ssh takes: default, ID, ID=SOCKET or ID=KEY[,KEY…].
func Parse(text string) (Spec, error) {
	id, paths, ok := strings.Cut(text, "=")
	if id == "" {
		id = DefaultID
	}
	s := Spec{ID: id}
	if !ok || paths == "" {
		return s, nil
	}
	s.Paths = strings.Split(paths, ",")
	for _, path := range s.Paths {
		if path == "" {
			return Spec{}, fmt.Errorf("%s: it takes ID=SOCKET or ID=KEY[,KEY…]", text)
		}
	}
	return s, nil
}

// Agents are the agents of one build, by id. nil has none.
type Agents struct{ agents map[string]dial }

// dial gives an agent for one connection, and what ends it.
type dial func(ctx context.Context) (agent.ExtendedAgent, io.Closer, error)

// Open reads the keys, and sees that the sockets are there.
func Open(specs []Spec) (*Agents, error) {
	a := &Agents{agents: map[string]dial{}}
	for _, s := range specs {
		if a.agents[s.ID] != nil {
			return nil, fmt.Errorf("the id %s is given twice; join its keys with commas: %s=KEY,KEY", s.ID, s.ID)
		}
		open, err := s.open()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.ID, err)
		}
		a.agents[s.ID] = open
	}
	return a, nil
}

func (s Spec) open() (dial, error) {
	paths := s.Paths
	if len(paths) == 0 {
		socket := os.Getenv("SSH_AUTH_SOCK")
		if socket == "" {
			return nil, fmt.Errorf("SSH_AUTH_SOCK names no agent; start one with ssh-agent, or give a key: %s=FILE", s.ID)
		}
		paths = []string{socket}
	}
	keys := agent.NewKeyring()
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if info.Mode()&os.ModeSocket != 0 {
			if len(paths) > 1 {
				return nil, errors.New("it takes one socket or several keys, not both")
			}
			return dialSocket(path), nil
		}
		key, err := readKey(path)
		if err == nil {
			err = keys.Add(agent.AddedKey{PrivateKey: key})
		}
		if err != nil {
			return nil, err
		}
	}
	signers := keys.(agent.ExtendedAgent)
	return func(context.Context) (agent.ExtendedAgent, io.Closer, error) { return signers, nil, nil }, nil
}

func dialSocket(path string) dial {
	return func(ctx context.Context) (agent.ExtendedAgent, io.Closer, error) {
		d := net.Dialer{Timeout: 2 * time.Second}
		conn, err := d.DialContext(ctx, "unix", path)
		if err != nil {
			return nil, nil, err
		}
		return agent.NewClient(conn), conn, nil
	}
}

// readKey reads a private key. Its errors name the file and nothing of what is in it.
func readKey(path string) (any, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxKey))
	if err != nil {
		return nil, err
	}
	key, err := ssh.ParseRawPrivateKey(data)
	if protected := (*ssh.PassphraseMissingError)(nil); errors.As(err, &protected) {
		return nil, fmt.Errorf("%s: the key has a passphrase; add it to an agent with ssh-add, and build with --ssh default", path)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: it is neither an agent's socket nor a private key in a form that ssh-keygen writes", path)
	}
	return key, nil
}

// Has says whether there is an agent of this id.
func (a *Agents) Has(id string) bool { return a != nil && a.agents[id] != nil }

// Serve answers on a new socket in dir, with these permissions, until stop is called, which ends what is under way.
func (a *Agents) Serve(ctx context.Context, id, dir, name string, mode os.FileMode, uid, gid int) (stop func(), err error) {
	open := a.agents[id]
	listener, err := listen(dir, name)
	if err != nil {
		return nil, fmt.Errorf("a socket for the ssh agent %s: %w", id, err)
	}
	path := filepath.Join(dir, name)
	if err := errors.Join(os.Chmod(path, mode), identity.Current().OwnPath(path, identity.Owner{UID: uid, GID: gid})); err != nil {
		listener.Close()
		return nil, fmt.Errorf("a socket for the ssh agent %s: %w", id, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			all.Go(func() { serve(ctx, open, conn) })
		}
	})
	return func() {
		cancel()
		listener.Close()
		all.Wait()
	}, nil
}

// serve answers one connection. A step that sends nonsense only loses its own.
func serve(ctx context.Context, open dial, conn net.Conn) {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	keys, upstream, err := open(ctx)
	if err != nil {
		return
	}
	if upstream != nil {
		defer upstream.Close()
		stop := context.AfterFunc(ctx, func() { upstream.Close() })
		defer stop()
	}
	answerAll(keys, conn)
}

// listen makes a socket. Its path may be longer than the 107 bytes that a socket's address has room for, so the address
// goes through a descriptor of the directory.
func listen(dir, name string) (*net.UnixListener, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	address := &net.UnixAddr{Net: "unix", Name: fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), name)}
	listener, err := net.ListenUnix("unix", address)
	if err != nil {
		return nil, err
	}
	listener.SetUnlinkOnClose(false) // the descriptor's number may be another's by then; the directory goes as a whole
	return listener, nil
}
