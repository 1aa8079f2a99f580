package test

import (
	"flag"
	"fmt"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/strata-build/strata/internal/cache/places/placetest"
)

// versitygw is a server of S3 that looks at signatures, of make test-places; without it the scripts have placetest's.
var versitygw = flag.String("versitygw", "", "program to serve S3 with")

// objects starts a server of objects, and sets S3 to the URL of one that speaks S3, with a bucket "cache", and OBJECTS to
// that of one that takes plain GET and PUT. What both have is read by "objects list" and counted by "objects count METHOD";
// "objects damage PART" changes a byte of all objects whose names have the part.
func objects(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("! objects is not supported")
	}
	if len(args) > 0 {
		server := *ts.Value(objectsKey{}).(**placetest.ObjectServer)
		switch {
		case server == nil:
			ts.Fatalf("objects: there is no server yet")
		case args[0] == "list" && len(args) == 1:
			fmt.Fprintln(ts.Stdout(), strings.Join(server.Names(), "\n"))
		case args[0] == "count" && len(args) == 2:
			n, sent := server.Count(args[1])
			fmt.Fprintf(ts.Stdout(), "%d requests, %d bytes\n", n, sent)
		case args[0] == "received" && len(args) == 1:
			fmt.Fprintf(ts.Stdout(), "%d bytes\n", server.Received())
		case args[0] == "clear" && len(args) == 1:
			server.Clear()
		case args[0] == "damage" && len(args) == 2:
			server.Damage(args[1])(nil)
		default:
			ts.Fatalf("usage: objects [list | clear | received | count METHOD | damage PART]")
		}
		return
	}
	server, stop := placetest.NewObjects()
	ts.Defer(stop)
	ts.Setenv("OBJECTS", server.URL)
	ts.Setenv("S3", server.URL)
	ts.Setenv("AWS_ACCESS_KEY_ID", placetest.AccessKey)
	ts.Setenv("AWS_SECRET_ACCESS_KEY", placetest.SecretKey)
	*ts.Value(objectsKey{}).(**placetest.ObjectServer) = server
	if *versitygw != "" {
		url, stop, err := placetest.ServeS3(*versitygw, ts.MkAbs(".s3"), "cache")
		ts.Check(err)
		ts.Defer(stop)
		ts.Setenv("S3", url)
	}
}

// objectsKey is under what a script has its *placetest.ObjectServer, in a variable.
type objectsKey struct{}
