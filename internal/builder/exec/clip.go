package exec

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// LogLimit bounds what a step of the graph engine shows of each of its two streams, as BuildKit
// does (util/progress/logs). What is above it is read and dropped, so the step runs on; the last of
// it is shown when the step ends. -1 is no limit.
type LogLimit struct {
	Size  int64 // bytes
	Speed int64 // bytes a second on average since the step began
}

// DefaultLogLimit has BuildKit's size. BuildKit allows 200 KiB a second, too, to spare the daemon's connection to its
// client, which is not there here.
var DefaultLogLimit = LogLimit{Size: 2 << 20, Speed: -1}

// clipTail is how much of the end is shown after a clipped stream, in bytes.
const clipTail = 256 << 10

// clipper passes a stream on up to the limit.
type clipper struct {
	limit    LogLimit
	out      func([]byte)
	began    time.Time
	now      func() time.Time
	size     int64 // bytes so far, the dropped ones included
	clipping bool
	tail     []byte // the last bytes since clipping began: up to twice clipTail and one write
}

func newClipper(limit LogLimit, out func([]byte)) *clipper {
	return &clipper{limit: limit, out: out, began: time.Now(), now: time.Now}
}

// room is how many of the next n bytes may be shown, and the limit that forbids more.
func (c *clipper) room(n int) (room int, limit string) {
	most := int64(math.MaxInt64)
	if c.limit.Speed >= 0 {
		most = int64(math.Ceil(c.now().Sub(c.began).Seconds())) * c.limit.Speed
		limit = size(c.limit.Speed) + "/s"
	}
	if c.limit.Size >= 0 && most > c.limit.Size {
		most, limit = c.limit.Size, size(c.limit.Size)
	}
	return int(min(max(most-c.size, 0), int64(n))), limit
}

// Write implements io.Writer. It never fails.
func (c *clipper) Write(p []byte) (int, error) {
	room, limit := c.room(len(p))
	c.size += int64(len(p))
	shown, rest := p[:room], p[room:]
	if len(rest) == 0 && c.clipping {
		c.clipping, c.tail = false, nil // the speed is back within its limit
	}
	if len(shown) > 0 {
		c.out(shown)
	}
	if len(rest) == 0 {
		return len(p), nil
	}
	if !c.clipping {
		c.clipping = true
		c.out(fmt.Appendf(nil, "\n[output clipped, log limit %s reached]\n", limit))
	}
	c.keep(rest)
	return len(p), nil
}

func (c *clipper) keep(p []byte) {
	c.tail = append(c.tail, p...)
	if len(c.tail) > 2*clipTail {
		c.tail = append(c.tail[:0], c.tail[len(c.tail)-clipTail:]...)
	}
}

// flush shows the end of a clipped stream.
func (c *clipper) flush() {
	if len(c.tail) == 0 {
		return
	}
	c.out(c.tail[max(0, len(c.tail)-clipTail):])
	c.tail = nil
}

// size writes bytes as BuildKit does in its note: 2MiB, 1.5KiB, 100B.
func size(n int64) string {
	for _, unit := range []struct {
		name string
		size int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n >= unit.size {
			return strconv.FormatFloat(float64(n)/float64(unit.size), 'g', 4, 64) + unit.name
		}
	}
	return strconv.FormatInt(n, 10) + "B"
}
