package test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
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
		"sparse.tar": sparse("big", 1<<50),
		"huge.tar":   header("big", tar.TypeReg, 1<<50, nil),
		// and this one has a file of 64 MiB that is a hole
		"holes.tar": sparse("holes", 64<<20),
	} {
		ts.Check(os.WriteFile(ts.MkAbs(name), data, 0o644))
	}
}

// header is one block of a tar that archive/tar would not write.
func header(name string, kind byte, size int64, more func([]byte)) []byte {
	b := make([]byte, 512)
	copy(b, name)
	copy(b[100:], "0000644\x000000000\x000000000\x00")
	number(b[124:136], size)
	copy(b[136:], "00000000000\x00")
	b[156] = kind
	copy(b[257:], "ustar  \x00")
	if more != nil {
		more(b)
	}
	sum := 8 * int(' ')
	for i, c := range b {
		if i < 148 || i >= 156 {
			sum += int(c)
		}
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
	return b
}

// number writes a number of any size into a header, in base 256.
func number(b []byte, n int64) {
	b[0] = 0x80
	for i := range 8 {
		b[len(b)-1-i] = byte(n >> (8 * i))
	}
}

// sparse is a tar with a file in GNU's sparse format, a hole but for its last block.
func sparse(name string, size int64) []byte {
	head := header(name, tar.TypeGNUSparse, 512, func(b []byte) {
		number(b[386:398], size-512)
		number(b[398:410], 512)
		number(b[483:495], size)
	})
	return append(head, make([]byte, 512+1024)...)
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
