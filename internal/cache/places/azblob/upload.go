package azblob

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/cache/places/bucket"
)

// blockSize is how large the blocks of a large blob are, in bytes: each is sent in one request, which can be made again. A blob
// has at most 50,000 of them, 400 GB.
const blockSize = bucket.Small

// Upload is a blob that is written, also by a URL that was signed for it.
type Upload struct {
	URL    *url.URL
	Caller *bucket.Caller
	// Do makes a request; an answer that is no success is an error.
	Do func(ctx context.Context, r bucket.Request) (*http.Response, error)
}

// Put writes a blob as bucket.Objects does: a small one by Put Blob, a large one by Put Block and Put Block List. Blocks that an
// earlier try has left are not sent again: they are known for a week, by names that have their digests.
func (u *Upload) Put(ctx context.Context, name string, size int64, r io.Reader, expect bucket.Expect) (bucket.Object, error) {
	header := http.Header{}
	expect.Condition(header)
	if size > bucket.Small {
		return u.blocks(ctx, name, size, r, header)
	}
	body, err := bucket.NewBody(name, size, r)
	if err != nil {
		return bucket.Object{}, err
	}
	header.Set("X-Ms-Blob-Type", "BlockBlob")
	return u.send(ctx, name, size, bucket.Request{Method: http.MethodPut, URL: u.URL, Header: header, Body: body})
}

func (u *Upload) send(ctx context.Context, name string, size int64, r bucket.Request) (bucket.Object, error) {
	resp, err := u.Do(ctx, r)
	if err != nil {
		return bucket.Object{}, err
	}
	resp.Body.Close()
	o := bucket.ObjectOf(name, resp)
	o.Size = size
	return o, nil
}

// blockID is the name of a block, which has to be as long as those of all others. It has the digest of what is in it, so that two
// who write one blob are not in each other's way.
func blockID(i int, data []byte) string {
	return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%06d-%s", i, digest.FromBytes(data).Encoded()[:32]))
}

// with is the URL with parameters.
func (u *Upload) with(values ...string) *url.URL {
	c := *u.URL
	q := c.Query()
	for i := 0; i < len(values); i += 2 {
		q.Set(values[i], values[i+1])
	}
	c.RawQuery = q.Encode()
	return &c
}

func (u *Upload) blocks(ctx context.Context, name string, size int64, r io.Reader, header http.Header) (bucket.Object, error) {
	there := u.left(ctx)
	var list struct {
		XMLName xml.Name `xml:"BlockList"`
		Latest  []string
	}
	data := make([]byte, blockSize)
	var read int64
	for i := 0; read < size; i++ {
		n, err := io.ReadFull(r, data[:min(blockSize, size-read)])
		if err != nil {
			return bucket.Object{}, fmt.Errorf("writing %s: %w", name, err)
		}
		read += int64(n)
		id := blockID(i, data[:n])
		list.Latest = append(list.Latest, id)
		if there[id] {
			continue
		}
		resp, err := u.Do(ctx, bucket.Request{
			Method: http.MethodPut, URL: u.with("comp", "block", "blockid", id), Body: &bucket.Body{Size: int64(n), Data: data[:n]},
		})
		if err != nil {
			return bucket.Object{}, err
		}
		resp.Body.Close()
	}
	if n, err := r.Read(data[:1]); n > 0 || err != io.EOF {
		return bucket.Object{}, fmt.Errorf("writing %s: it is not the %d bytes that it was to be: %w", name, size, orShort(err))
	}
	text, err := xml.Marshal(list)
	if err != nil {
		return bucket.Object{}, err
	}
	text = append([]byte(xml.Header), text...)
	header.Set("Content-Type", "application/xml")
	return u.send(ctx, name, size, bucket.Request{
		Method: http.MethodPut, URL: u.with("comp", "blocklist"), Header: header, Body: &bucket.Body{Size: int64(len(text)), Data: text},
	})
}

func orShort(err error) error {
	if err == nil || err == io.EOF {
		return io.ErrShortWrite
	}
	return err
}

// left are the blocks that an earlier try has left. Where that cannot be told, all are sent.
func (u *Upload) left(ctx context.Context) map[string]bool {
	resp, err := u.Caller.Do(ctx, bucket.Request{Method: http.MethodGet, URL: u.with("comp", "blocklist", "blocklisttype", "uncommitted")})
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	var list struct {
		UncommittedBlocks struct {
			Block []struct{ Name string }
		}
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxPage))
	if err != nil || resp.StatusCode != http.StatusOK || xml.NewDecoder(bytes.NewReader(data)).Decode(&list) != nil {
		return nil
	}
	there := map[string]bool{}
	for _, b := range list.UncommittedBlocks.Block {
		there[b.Name] = true
	}
	return there
}
