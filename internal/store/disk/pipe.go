package disk

import (
	"context"
	"os"
)

// OpenFile opens a file for reading. Where it is a named pipe, whose writer may never come, waiting for it and for what
// it writes ends when ctx is done, with an error; the caller then reports the cause of ctx.
func OpenFile(ctx context.Context, name string) (*os.File, error) {
	if st, err := os.Stat(name); err != nil || st.Mode()&os.ModeNamedPipe == 0 {
		return os.Open(name)
	}
	type opened struct {
		file *os.File
		err  error
	}
	done := make(chan opened, 1)
	go func() {
		f, err := os.Open(name)
		done <- opened{f, err}
	}()
	select {
	case o := <-done:
		if o.err == nil {
			context.AfterFunc(ctx, func() { o.file.Close() })
		}
		return o.file, o.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
