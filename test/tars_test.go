package test

import (
	"archive/tar"
	"bytes"
	"os"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/strata-build/strata/internal/layer/layertest"
)

// tars writes archives that no honest tool makes into the working directory.
func tars(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: tars")
	}
	whole := archive(ts, file("greeting.txt"), file(strings.Repeat("x", 200)))
	for name, data := range map[string][]byte{
		"cut.tar":    whole[:700], // in the middle of the second header
		"dotdot.tar": archive(ts, file("fine.txt"), file("../escape")),
		"name.tar":   archive(ts, file(strings.Repeat("n", 10_000))),
		"through.tar": archive(ts,
			tar.Header{Name: "tmp", Typeflag: tar.TypeSymlink, Linkname: "/tmp"},
			file("tmp/strata-escape")),
		// each says that it has a file of 1 PiB
		"sparse.tar": layertest.GNUSparse("big", 1<<50),
		"huge.tar":   layertest.Header("big", tar.TypeReg, 1<<50, nil),
		// and this one has a file of 64 MiB that is a hole
		"holes.tar": layertest.GNUSparse("holes", 64<<20),
	} {
		ts.Check(os.WriteFile(ts.MkAbs(name), data, 0o644))
	}
}

func file(name string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644}
}

func archive(ts *testscript.TestScript, headers ...tar.Header) []byte {
	var buffer bytes.Buffer
	w := tar.NewWriter(&buffer)
	for _, header := range headers {
		ts.Check(w.WriteHeader(&header))
	}
	ts.Check(w.Close())
	return buffer.Bytes()
}
