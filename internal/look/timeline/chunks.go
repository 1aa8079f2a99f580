package timeline

// chunks is a list that grows without being copied, so that the old and the new one are never in memory at once.
type chunks[T any] struct {
	list [][]T
	n    int
}

const chunk = 1 << 13

func (c *chunks[T]) push(v T) int32 {
	if c.n%chunk == 0 {
		size := chunk
		if c.n == 0 {
			size = chunk / 8 // most images' timelines are small
		}
		c.list = append(c.list, make([]T, 0, size))
	}
	last := &c.list[c.n/chunk]
	*last = append(*last, v)
	c.n++
	return int32(c.n - 1)
}

// at is an element; push may leave pointers into the first chunk stale.
func (c *chunks[T]) at(i int) *T { return &c.list[i/chunk][i%chunk] }

func (c *chunks[T]) len() int { return c.n }

// text is a list of short texts, none of which crosses from one block into the next.
type text struct{ blocks [][]byte }

// textBlock is the size of a block in bytes; a text has at most layer.MaxPath and its length.
const textBlock = 1 << 16

// push returns where the text is.
func (t *text) push(s string) uint32 {
	if n := len(t.blocks); n == 0 || len(t.blocks[n-1])+len(s) > textBlock {
		t.blocks = append(t.blocks, make([]byte, 0, textBlock))
	}
	last := len(t.blocks) - 1
	at := len(t.blocks[last])
	t.blocks[last] = append(t.blocks[last], s...)
	return uint32(last*textBlock + at)
}

func (t *text) at(i uint32, n int) []byte {
	at := int(i % textBlock)
	return t.blocks[i/textBlock][at : at+n]
}

// full says that what push returns may soon be too large.
func (t *text) full() bool { return len(t.blocks) >= 1<<15 }
