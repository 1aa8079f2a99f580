package test

import (
	"crypto/rand"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/net/dns/dnsmessage"
)

// peers stands in for what a machine's loopback has beside servers of files, and sets where it is:
//
//	RESOLVER  a name server, on port 53 of an address of its own, for whom all names below example.org are 198.19.255.4,
//	          where a container has the machine
//	UDP       the port of a server whose files, asked for by TFTP, all are "datagram"
//	ABSTRACT  an abstract socket
func peers(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: peers")
	}
	var random [3]byte
	_, _ = rand.Read(random[:])
	address := netip.AddrFrom4([4]byte{127, 1 + random[0]%254, random[1], 1 + random[2]%254}).String()
	answerEach(ts, net.JoinHostPort(address, "53"), answerNames)
	ts.Setenv("RESOLVER", address)
	port := answerEach(ts, "127.0.0.1:0", answerFile)
	ts.Setenv("UDP", strconv.Itoa(port))
	abstract := "strata-test-" + rand.Text()
	socket, err := net.Listen("unix", "@"+abstract)
	ts.Check(err)
	ts.Defer(func() { socket.Close() })
	ts.Setenv("ABSTRACT", abstract)
}

// answerEach answers datagrams at an address until the script ends, and returns the port.
func answerEach(ts *testscript.TestScript, address string, answer func([]byte) []byte) int {
	conn, err := net.ListenPacket("udp", address)
	ts.Check(err)
	ts.Defer(func() { conn.Close() })
	go func() {
		datagram := make([]byte, 65535)
		for {
			n, from, err := conn.ReadFrom(datagram)
			if err != nil {
				return
			}
			if a := answer(datagram[:n]); a != nil {
				_, _ = conn.WriteTo(a, from)
			}
		}
	}()
	return conn.LocalAddr().(*net.UDPAddr).Port
}

// answerFile answers the request for a file with its first and last block (RFC 1350).
func answerFile(request []byte) []byte {
	if len(request) < 2 || request[1] != 1 {
		return nil // what acknowledges the block
	}
	return append([]byte{0, 3, 0, 1}, "datagram\n"...)
}

func answerNames(query []byte) []byte {
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil || len(m.Questions) != 1 {
		return fmt.Append(nil, err)
	}
	q := m.Questions[0]
	m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
	name := q.Name.String()
	switch {
	case len(name) < len("example.org.") || name[len(name)-len("example.org."):] != "example.org.":
		m.RCode = dnsmessage.RCodeNameError
	case q.Type == dnsmessage.TypeA:
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1}, Body: &dnsmessage.AResource{A: [4]byte{198, 19, 255, 4}},
		}}
	}
	packed, err := m.Pack()
	if err != nil {
		return nil
	}
	return packed
}
