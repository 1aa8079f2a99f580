package test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
)

// serve DIR stands in for the network: it serves a directory on a free port of 127.0.0.1, sets SERVER to its
// address and SERVER_PORT to its port, and writes the path of each request as a line of $WORK/requests.
func serve(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: serve DIR")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	requests, err := os.OpenFile(ts.MkAbs("requests"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	ts.Check(err)
	files := http.FileServer(http.Dir(ts.MkAbs(args[0])))
	var mu sync.Mutex
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		fmt.Fprintln(requests, r.URL.Path)
		mu.Unlock()
		files.ServeHTTP(w, r)
	})}
	go server.Serve(listener)
	ts.Defer(func() {
		server.Close()
		requests.Close()
	})
	ts.Setenv("SERVER", listener.Addr().String())
	ts.Setenv("SERVER_PORT", strconv.Itoa(listener.Addr().(*net.TCPAddr).Port))
}
