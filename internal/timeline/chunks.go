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
