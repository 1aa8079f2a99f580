package tracefs

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/observed"
)

// The process that has layers served and the server talk through sockets of packets (unix(7), SOCK_SEQPACKET): one for
// all that hands over one for each mount, and one of each mount for the lists that the server wants made. A packet is a
// request or an answer in JSON with open files; what is long is in a file in memory.

// what is asked of the server.
type what string

const (
	takeLayer what = "layer" // with the TOC, the TOC of what is below, and the files
	mountThem what = "mount" // with the directory, the socket for lists, and that for wants
	tellAsked what = "asked" // answered with a file
)

// request is what the server is asked to do for a mount.
type request struct {
	What what
	Lazy bool `json:",omitempty"` // the layer's files have to be asked for before they are read
}

// answer is what it says.
type answer struct {
	Error string `json:",omitempty"` // what went wrong
}

const (
	maxPacket = 4 << 10
	maxFiles  = 8 // in a packet
)

// send sends a packet with open files.
func send(c *net.UnixConn, v any, fds ...int) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	_, _, err = c.WriteMsgUnix(b[:min(len(b), maxPacket)], rights, nil)
	return err
}

// receive takes a packet; io.EOF when the other side is gone. The files are the caller's to close.
func receive(c *net.UnixConn, v any) ([]*os.File, error) {
	b, rights := make([]byte, maxPacket), make([]byte, unix.CmsgSpace(4*maxFiles))
	n, nr, flags, _, err := c.ReadMsgUnix(b, rights)
	if err != nil {
		return nil, err
	}
	files, err := filesOf(rights[:nr])
	if err == nil {
		switch {
		case n == 0:
			err = io.EOF
		case flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0:
			err = errors.New("a message is too long")
		default:
			err = json.Unmarshal(b[:n], v)
		}
	}
	if err != nil {
		closeAll(files)
		return nil, err
	}
	return files, nil
}

func filesOf(rights []byte) (files []*os.File, err error) {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return nil, err
	}
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return files, err
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "received"))
		}
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// ask sends a request and waits for the answer.
func ask(c *net.UnixConn, r request, fds ...int) ([]*os.File, error) {
	if err := send(c, r, fds...); err != nil {
		return nil, err
	}
	var a answer
	files, err := receive(c, &a)
	switch {
	case errors.Is(err, io.EOF):
		return nil, errors.New("the process that serves them has ended")
	case err != nil:
		return nil, err
	case a.Error != "":
		closeAll(files)
		return nil, errors.New(a.Error)
	}
	return files, nil
}

// memory makes a file in memory of what write writes.
func memory(write func(io.Writer) error) (*os.File, error) {
	fd, err := unix.MemfdCreate("strata", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("making a file in memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), "memory")
	w := bufio.NewWriterSize(f, 256<<10)
	if err := errors.Join(write(w), w.Flush()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// tocFile is a table of contents as a file in memory; nil is an empty one.
func tocFile(t *layer.TOC) (*os.File, error) {
	if t == nil {
		t = &layer.TOC{}
	}
	return memory(t.Encode)
}

func readTOC(f *os.File) (*layer.TOC, error) {
	t := &layer.TOC{}
	return t, t.Decode(io.NewSectionReader(f, 0, 1<<62))
}

// askedFile is what was asked of layers as a file in memory: of each, the length and the bytes of Recorder.Encode.
func askedFile(recorders []*observed.Recorder) (*os.File, error) {
	return memory(func(w io.Writer) error {
		for _, r := range recorders {
			b := r.Encode()
			if _, err := w.Write(append(binary.AppendUvarint(nil, uint64(len(b))), b...)); err != nil {
				return err
			}
		}
		return nil
	})
}

func readAsked(f *os.File, recorders []*observed.Recorder) error {
	all, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<62))
	if err != nil {
		return err
	}
	from := bytes.NewBuffer(all)
	for _, r := range recorders {
		n, err := binary.ReadUvarint(from)
		if err != nil || n > uint64(from.Len()) {
			return errors.New("what was asked of them cannot be read")
		}
		if err := r.Decode(from.Next(int(n))); err != nil {
			return err
		}
	}
	return nil
}
