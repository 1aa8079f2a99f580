package test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/strata-build/strata/internal/builder/source/remote/remotetest"
)

// remotes are the servers of each script, by its folder.
var remotes sync.Map

// server is a web or git server of a script.
type server struct {
	*http.Server
	address string
	files   *remotetest.Server
	git     *remotetest.Git
}

// start starts a server on a free port of 127.0.0.1, or again on the one it had.
func (s *server) start(ts *testscript.TestScript, handler http.Handler) {
	if s.address == "" {
		s.address = "127.0.0.1:0"
	}
	listener, err := net.Listen("tcp", s.address)
	ts.Check(err)
	s.address = listener.Addr().String()
	s.Server = &http.Server{Handler: handler}
	go s.Serve(listener)
	ts.Defer(func() { s.Close() })
}

func serverOf(ts *testscript.TestScript, kind string) *server {
	s, ok := remotes.Load(kind + ts.Getenv("WORK"))
	if !ok {
		ts.Fatalf("%s start comes first", kind)
	}
	return s.(*server)
}

func writeLines(ts *testscript.TestScript, name string, lines []string) {
	text := strings.Join(lines, "\n")
	if len(lines) > 0 {
		text += "\n"
	}
	ts.Check(os.WriteFile(ts.MkAbs(name), []byte(text), 0o644))
}

// web is a web server of the script.
//
//	web start                  sets WEB to its address
//	web set PATH FILE [K=V]…   has a file from now on: etag, modified, disposition, type, status, cut, deaf, redirect, bearer
//	web requests FILE          writes what it was asked since: method, path, status, bytes
//	web stop, web again        makes it unreachable, and reachable
func web(ts *testscript.TestScript, neg bool, args []string) {
	switch {
	case neg || len(args) == 0:
	case args[0] == "start":
		s := &server{files: &remotetest.Server{}}
		s.start(ts, s.files)
		remotes.Store("web"+ts.Getenv("WORK"), s)
		ts.Setenv("WEB", "http://"+s.address)
		return
	case args[0] == "stop":
		ts.Check(serverOf(ts, "web").Close())
		return
	case args[0] == "again":
		s := serverOf(ts, "web")
		s.start(ts, s.files)
		return
	case args[0] == "requests" && len(args) == 2:
		writeLines(ts, args[1], serverOf(ts, "web").files.Requests())
		return
	case args[0] == "set" && len(args) >= 3:
		data, err := os.ReadFile(ts.MkAbs(args[2]))
		ts.Check(err)
		a := remotetest.Answer{Body: string(data)}
		for _, option := range args[3:] {
			ts.Check(setAnswer(&a, option))
		}
		serverOf(ts, "web").files.Set(args[1], a)
		return
	}
	ts.Fatalf("usage: web start | stop | again | set PATH FILE [K=V]… | requests FILE")
}

func setAnswer(a *remotetest.Answer, option string) (err error) {
	name, value, _ := strings.Cut(option, "=")
	switch name {
	case "etag":
		a.ETag = strconv.Quote(value)
	case "modified":
		a.Modified, err = time.Parse(time.RFC3339, value)
	case "disposition":
		a.Disposition = value
	case "type":
		a.Type = value
	case "redirect":
		a.Redirect = value
	case "bearer":
		a.Bearer = value
	case "status":
		a.Status, err = strconv.Atoi(value)
	case "cut":
		a.Cut, err = strconv.Atoi(value)
	case "deaf":
		a.Deaf = true
	default:
		err = fmt.Errorf("web set: %s", option)
	}
	return err
}

// gitserver is a git server of the script, through http.
//
//	gitserver start               sets GITSERVER to its address; it serves what is below $WORK/git
//	gitserver make NAME FILE      makes a repository by running a shell script in it
//	gitserver change NAME FILE    runs a shell script in it
//	gitserver requests FILE       writes what it was asked since: path and command of each request
//	gitserver password WORD       wants it from now on
//	gitserver stop, gitserver again
func gitserver(ts *testscript.TestScript, neg bool, args []string) {
	switch {
	case neg || len(args) == 0:
	case args[0] == "start":
		s := &server{git: &remotetest.Git{Dir: ts.MkAbs("git")}}
		ts.Check(os.MkdirAll(s.git.Dir, 0o755))
		s.start(ts, s.git)
		remotes.Store("gitserver"+ts.Getenv("WORK"), s)
		ts.Setenv("GITSERVER", "http://"+s.address)
		return
	case args[0] == "stop":
		ts.Check(serverOf(ts, "gitserver").Close())
		return
	case args[0] == "again":
		s := serverOf(ts, "gitserver")
		s.start(ts, s.git)
		return
	case args[0] == "password" && len(args) == 2:
		serverOf(ts, "gitserver").git.Password = args[1]
		return
	case args[0] == "requests" && len(args) == 2:
		writeLines(ts, args[1], serverOf(ts, "gitserver").git.Requests())
		return
	case (args[0] == "make" || args[0] == "change") && len(args) == 3:
		dir := ts.MkAbs("git/" + args[1])
		script := strings.ReplaceAll(ts.ReadFile(args[2]), "$GITSERVER", ts.Getenv("GITSERVER"))
		if args[0] == "change" {
			ts.Check(remotetest.Change(dir, script))
			return
		}
		ts.Check(os.MkdirAll(dir, 0o755))
		ts.Check(remotetest.Make(dir, script))
		return
	}
	ts.Fatalf("usage: gitserver start | stop | again | make NAME FILE | change NAME FILE | password WORD | requests FILE")
}
