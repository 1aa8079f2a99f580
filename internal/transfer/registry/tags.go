package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/distribution/reference"
)

// maxTags bounds the tags of one repository that are listed.
const maxTags = 100_000

// Tags lists the tags of ref's repository, page by page, in the registry's order (distribution-spec, "Listing Tags").
func (c *Client) Tags(ctx context.Context, ref reference.Named) ([]string, error) {
	var tags []string
	err := c.ask(ref, canResolve, func(e *endpoint) (err error) {
		tags, err = e.tags(ctx, ref)
		return err
	})
	return tags, err
}

func (e *endpoint) tags(ctx context.Context, ref reference.Named) ([]string, error) {
	var all []string
	r := request{method: http.MethodGet, path: "/" + reference.Path(ref) + "/tags/list", scopes: []string{pullScope(ref)}}
	for {
		page, next, err := e.tagPage(ctx, r)
		if err != nil {
			return nil, err
		}
		all = append(all, page...)
		if next == nil || len(page) == 0 {
			return all, nil
		}
		if len(all) > maxTags {
			return nil, fmt.Errorf("%s lists more than %d tags; pull each by its name", e.url.Host, maxTags)
		}
		r.url = next
	}
}

// tagPage reads one page of tags, and finds the next; nil after the last.
func (e *endpoint) tagPage(ctx context.Context, r request) ([]string, *url.URL, error) {
	resp, err := e.read(ctx, r, http.StatusOK)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	var list struct {
		Tags []string `json:"tags"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxManifest)).Decode(&list); err != nil {
		return nil, nil, fmt.Errorf("reading the list of tags: %w", err)
	}
	link, _, ok := strings.Cut(resp.Header.Get("Link"), ">")
	if !ok {
		return list.Tags, nil, nil
	}
	next, err := e.target(r).Parse(strings.TrimPrefix(strings.TrimSpace(link), "<"))
	if err != nil || next.Host != e.url.Host || next.Scheme != e.url.Scheme {
		return nil, nil, fmt.Errorf("%s sent %q as the next page of tags", e.url.Host, printable(link))
	}
	return list.Tags, next, nil
}
