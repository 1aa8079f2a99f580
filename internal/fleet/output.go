package fleet

import (
	"bytes"
	"slices"
	"strconv"

	"github.com/strata-build/strata/internal/sandbox/secret"
)

// maxOutput is how many bytes of output one message has at most.
const maxOutput = 64 << 10

// output is a stream of a step on its way to the build. Of a step that has secrets it goes line by line, without what they
// say.
type output struct {
	send    func(p []byte)
	secrets *secret.Store
	line    []byte
}

// output is the stream of an order: 1 is stdout, 2 stderr.
func (w *Worker) output(o *order, stream int, secrets *secret.Store) *output {
	subject := outputSubject + "." + o.ID + "." + strconv.Itoa(stream)
	return &output{secrets: secrets, send: func(p []byte) {
		_ = w.queue.nc.Publish(subject, p) // lines may be lost while the queue is away
	}}
}

// Write implements io.Writer. It never fails.
func (o *output) Write(p []byte) (int, error) {
	_, length := o.secrets.Mask("")
	if length == 0 {
		for part := range slices.Chunk(p, maxOutput) {
			o.send(slices.Clone(part))
		}
		return len(p), nil
	}
	whole := len(o.line) + bytes.LastIndexByte(p, '\n') + 1
	ends := whole > len(o.line)
	o.line = append(o.line, p...)
	if ends {
		o.sendMasked(o.line[:whole])
		o.line = slices.Clone(o.line[whole:])
	}
	if len(o.line) > maxOutput+length {
		// No whole secret is in the line once it is masked; the beginning of one may be at its end, and waits for the rest.
		masked, _ := o.secrets.Mask(string(o.line))
		if n := len(masked) - length; n > 0 {
			o.send([]byte(masked[:n]))
			masked = masked[n:]
		}
		o.line = []byte(masked)
	}
	return len(p), nil
}

// flush sends the beginning of a line that has no end yet.
func (o *output) flush() {
	if len(o.line) > 0 {
		o.sendMasked(o.line)
		o.line = nil
	}
}

func (o *output) sendMasked(lines []byte) {
	text, _ := o.secrets.Mask(string(lines))
	for part := range slices.Chunk([]byte(text), maxOutput) {
		o.send(slices.Clone(part))
	}
}
