package layer

import "io"

// besideFrom is how many bytes are worth another goroutine: to begin one takes as long as to hash some hundred bytes.
const besideFrom = 16 << 10

// beside writes to a writer, and hashes the same bytes meanwhile.
type beside struct{ w, hash io.Writer }

// Beside returns a writer that writes all to w and to hash, at once where there are two cores: of large pieces. An
// error of w ends a Write; hash has none, and gets all that w was given.
func Beside(w, hash io.Writer) io.Writer { return beside{w, hash} }

// Write implements io.Writer.
func (b beside) Write(p []byte) (int, error) {
	if len(p) < besideFrom {
		b.hash.Write(p)
		return b.w.Write(p)
	}
	hashed := make(chan struct{})
	go func() {
		b.hash.Write(p)
		close(hashed)
	}()
	n, err := b.w.Write(p)
	<-hashed // p is the caller's again
	return n, err
}
