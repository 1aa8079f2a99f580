package network

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
)

const (
	dnsPort    = 53
	dnsTimeout = 5 * time.Second // for each server, as that of resolv.conf(5)
)

// machineResolvers are those of the machine's resolv.conf, and that of resolv.conf(5) where it names none.
func machineResolvers() []netip.AddrPort {
	var found []netip.AddrPort
	f, err := os.Open("/etc/resolv.conf")
	if err == nil {
		defer f.Close()
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			fields := strings.Fields(lines.Text())
			if len(fields) < 2 || fields[0] != "nameserver" {
				continue
			}
			if a, err := netip.ParseAddr(fields[1]); err == nil {
				found = append(found, netip.AddrPortFrom(a, dnsPort))
			}
		}
	}
	if found == nil {
		found = []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), dnsPort)}
	}
	return found
}

// asksNames says whether what is sent to a destination are questions for names, the gateway's or another server's.
func (n *Network) asksNames(to netip.AddrPort) bool { return to.Port() == dnsPort }

// upstreams are the servers that answer what is asked at a destination; nil where it may not be reached. Where it is
// limited what may be, they are always the machine's: another server could say of any address that it has a name that
// is allowed.
func (n *Network) upstreams(to netip.AddrPort) []netip.AddrPort {
	if a := to.Addr().String(); a == gatewayAddress || a == gatewayAddress6 || n.policy.allow != nil {
		return n.resolvers
	}
	targets, err := n.policy.targets(to)
	if err != nil {
		n.seen.note(to.String(), err)
	}
	return targets
}

// answerDatagrams answers the questions of a port of the container.
func (n *Network) answerDatagrams(step *gonet.UDPConn, upstreams []netip.AddrPort) {
	question := make([]byte, largestDatagram)
	for {
		_ = step.SetReadDeadline(time.Now().Add(idle))
		size, err := step.Read(question)
		if err != nil {
			return
		}
		query := append([]byte(nil), question[:size]...)
		n.start(func() {
			if answer := n.answer("udp", query, upstreams); answer != nil {
				_, _ = step.Write(answer)
			}
		})
	}
}

// answerStream answers the questions of a connection, each of which follows its length (RFC 1035, 4.2.2).
func (n *Network) answerStream(step net.Conn, upstreams []netip.AddrPort) {
	for {
		_ = step.SetReadDeadline(time.Now().Add(idle))
		query, err := readMessage(step)
		if err != nil {
			return
		}
		answer := n.answer("tcp", query, upstreams)
		if answer == nil || writeMessage(step, answer) != nil {
			return
		}
	}
}

func readMessage(r io.Reader) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	message := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err := io.ReadFull(r, message)
	return message, err
}

func writeMessage(w io.Writer, message []byte) error {
	_, err := w.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(message))), message...))
	return err
}

// answer is the answer to a question: that of the first server which has one. It is nil for what is no question.
func (n *Network) answer(network string, query []byte, upstreams []netip.AddrPort) []byte {
	var parser dnsmessage.Parser
	head, err := parser.Start(query)
	if err != nil || head.Response {
		return nil
	}
	question, err := parser.Question()
	if err != nil {
		return nil
	}
	name := plain(canonical(question.Name.String()))
	if n.policy.allow != nil && !n.policy.allow.name(name) {
		if question.Type != dnsmessage.TypePTR {
			n.seen.note(name, errAllow)
		}
		// Not RCodeRefused, with which resolvers try again and say that the failure is temporary.
		return failure(head, question, dnsmessage.RCodeNameError)
	}
	for _, server := range upstreams {
		answer, err := exchange(n.ctx, network, server, query)
		if err != nil {
			continue
		}
		n.seen.resolve(name, addresses(answer))
		return answer
	}
	return failure(head, question, dnsmessage.RCodeServerFailure)
}

// plain puts question marks in a name for bytes that names of hosts do not have, since people read it.
func plain(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '-' || r == '_' || r == '.' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' {
			return r
		}
		return '?'
	}, name)
}

// failure is an answer without one.
func failure(head dnsmessage.Header, question dnsmessage.Question, code dnsmessage.RCode) []byte {
	m := dnsmessage.Message{Questions: []dnsmessage.Question{question}}
	m.Header = dnsmessage.Header{
		ID: head.ID, Response: true, OpCode: head.OpCode, RecursionDesired: head.RecursionDesired, RecursionAvailable: true, RCode: code,
	}
	packed, err := m.Pack()
	if err != nil {
		return nil
	}
	return packed
}

// exchange asks one server.
func exchange(ctx context.Context, network string, server netip.AddrPort, query []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, dnsTimeout)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, network, server.String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if network == "tcp" {
		if err := writeMessage(conn, query); err != nil {
			return nil, err
		}
		return readMessage(conn)
	}
	if _, err := conn.Write(query); err != nil {
		return nil, err
	}
	answer := make([]byte, largestDatagram)
	for {
		size, err := conn.Read(answer)
		if err != nil {
			return nil, err
		}
		if size >= 2 && answer[0] == query[0] && answer[1] == query[1] {
			return answer[:size], nil
		}
	}
}

// addresses are those of an answer.
func addresses(answer []byte) []netip.Addr {
	var parser dnsmessage.Parser
	if _, err := parser.Start(answer); err != nil {
		return nil
	}
	if err := parser.SkipAllQuestions(); err != nil {
		return nil
	}
	var found []netip.Addr
	for {
		head, err := parser.AnswerHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) || err != nil {
			return found
		}
		switch head.Type {
		case dnsmessage.TypeA:
			r, err := parser.AResource()
			if err != nil {
				return found
			}
			found = append(found, netip.AddrFrom4(r.A))
		case dnsmessage.TypeAAAA:
			r, err := parser.AAAAResource()
			if err != nil {
				return found
			}
			found = append(found, netip.AddrFrom16(r.AAAA))
		default:
			if err := parser.SkipAnswer(); err != nil {
				return found
			}
		}
	}
}
