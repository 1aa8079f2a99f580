package tracefs

import (
	"errors"
	"io"
	"net"
	"sync"

	"golang.org/x/sys/unix"
)

// Of a layer that is not here the server has only a file with holes. Before it reads a part of it, it asks the
// process that has the layers served for that part, through a socket of its own, since that one has the network, the
// credentials and the digests. Many are asked for at once.

// want is a part of a layer's files that is needed, or the answer that it is there.
type want struct {
	ID       uint64
	Layer    int    // by its place among those that are served
	At, Size int64  // in the layer's file, bytes
	Error    string `json:",omitempty"` // of an answer: why it cannot be had
}

// parallelWants is how many parts are brought at once.
const parallelWants = 16

// wants is the server's side.
type wants struct {
	conn *net.UnixConn

	mu      sync.Mutex
	last    uint64
	waiting map[uint64]chan error // nil once nobody answers any more
}

func newWants(c *net.UnixConn) *wants {
	w := &wants{conn: c, waiting: map[uint64]chan error{}}
	go w.hear()
	return w
}

// errGone says that the process that has the layers served does not answer.
var errGone = errors.New("nobody brings what is not here")

// need waits until a part of a layer is in its file.
func (w *wants) need(cancel <-chan struct{}, layer int, at, size int64) error {
	answered := make(chan error, 1)
	w.mu.Lock()
	if w.waiting == nil {
		w.mu.Unlock()
		return errGone
	}
	w.last++
	id := w.last
	w.waiting[id] = answered
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		delete(w.waiting, id)
		w.mu.Unlock()
	}()
	if err := send(w.conn, want{ID: id, Layer: layer, At: at, Size: size}); err != nil {
		return errGone
	}
	select {
	case err := <-answered:
		return err
	case <-cancel: // whoever reads it is being ended
		return unix.EINTR
	}
}

// hear passes answers on until there are no more.
func (w *wants) hear() {
	for {
		var a want
		files, err := receive(w.conn, &a)
		closeAll(files)
		w.mu.Lock()
		if err != nil {
			for _, answered := range w.waiting {
				answered <- errGone
			}
			w.waiting = nil
			w.mu.Unlock()
			return
		}
		if answered := w.waiting[a.ID]; answered != nil {
			delete(w.waiting, a.ID)
			if err = nil; a.Error != "" {
				err = errors.New(a.Error)
			}
			answered <- err
		}
		w.mu.Unlock()
	}
}

// bringWants answers what the server wants, until it is gone or c is closed.
func bringWants(c *net.UnixConn, layers []Layer) {
	var busy sync.WaitGroup
	free := make(chan struct{}, parallelWants)
	defer busy.Wait()
	for {
		var w want
		files, err := receive(c, &w)
		closeAll(files)
		if err != nil {
			return
		}
		free <- struct{}{}
		busy.Go(func() {
			defer func() { <-free }()
			err := io.ErrUnexpectedEOF
			if w.Layer >= 0 && w.Layer < len(layers) && layers[w.Layer].Bring != nil {
				err = layers[w.Layer].Bring(w.At, w.Size)
			}
			if err != nil {
				w.Error = err.Error()
				w.Error = w.Error[:min(len(w.Error), maxPacket/8)]
			}
			_ = send(c, w) // nobody reads it where the server is gone
		})
	}
}
