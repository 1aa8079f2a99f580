// Package selection finds what the source of a COPY or ADD, or of a bind mount, means in a layer.Tree: a build's
// context or the merged state of another stage. Select gives the files, Sum the digest of what they would be in a
// layer.
package selection

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strings"

	"github.com/strata-build/strata/internal/layer"
)

// Options say how a source is to be understood. Docker's two engines differ in some of it.
type Options struct {
	// Instruction is what errors name: "ADD"; "" stands for "COPY".
	Instruction string
	// Strict refuses every source that leads out of a context with "..", as the classic engine does.
	// Without it, such a source means what is left of it inside the context, as in BuildKit ("../x" is "/x"),
	// and is an OutsideError only if that does not exist. Stages have no outside: as in a chroot, "/.." is "/".
	Strict bool
	// AllowEmpty lets a pattern with wildcards match nothing: the result is empty, without an error. It is
	// what BuildKit does (llb.CopyInfo.AllowEmptyWildcard, set for every COPY and ADD); the classic
	// engine fails if all sources together match nothing.
	AllowEmpty bool
	// Exclude are patterns of what is left out, in .dockerignore's form and relative to the directory that is copied
	// (Dockerfile reference, COPY --exclude).
	Exclude []string
	// Parents keeps the directories that a source lies in, as COPY --parents does.
	Parents bool
	// Literal takes the source as a path in which no character is a wildcard: the source= of a RUN --mount.
	Literal bool
}

// Match is one file or directory that a source of a COPY stands for.
type Match struct {
	// Path is where it was found: relative to the root, before following a symlink in the last place.
	Path string
	// Name is the last part of Path: the name of a file when it is copied into a directory. "" for the root.
	Name string
	// Dir says that the contents of a directory are to be copied. Otherwise there is exactly one item.
	Dir bool
	// Entry is what was found, after following a symlink; never a Hardlink, as that of an Item.
	Entry *layer.Entry
	// Items are what is to be copied.
	Items Items

	at       string    // the directory that the items are below, with selector
	selector *selector // nil for a file
}

// Items gives items one after the other, in canonical order: parents come before what they hold. They are found in the
// tree each time, so that nothing keeps all of them. An error of each ends it and is returned as it is.
type Items func(ctx context.Context, each func(*Item) error) error

// List gives the items of a list.
func List(items ...Item) Items {
	return func(_ context.Context, each func(*Item) error) error {
		for i := range items {
			if err := each(&items[i]); err != nil {
				return err
			}
		}
		return nil
	}
}

// errFound ends a search.
var errFound = errors.New("found")

// any says whether there is an item that is like that.
func (items Items) any(ctx context.Context, like func(*Item) bool) (bool, error) {
	err := items(ctx, func(it *Item) error {
		if like(it) {
			return errFound
		}
		return nil
	})
	if errors.Is(err, errFound) {
		return true, nil
	}
	return false, err
}

// Item is a file, directory, link or device to be copied.
type Item struct {
	// Entry is the entry of the tree, to be handed to its Sum and Open. It is never a Hardlink: for one, it is
	// the entry that the link leads to.
	Entry *layer.Entry
	// Target is the path relative to the match's destination: "" for a match that is a file,
	// "a/b" below a directory's destination. The directory that was matched is not an item itself:
	// only its contents are copied, its owner, mode and times are not.
	Target string
	// Name is Match.Name for a match that is a file, else "".
	Name string
	// Link is the Target of an earlier item of the same match that is the same file (a hard link). BuildKit
	// keeps hard links inside one match, of contexts too: fsutil's sender tells the receiver of links
	// between files that are not excluded, and the copy links again (fsutil copy.go, getLinkSource).
	Link string
	// OnTheWay says of a directory that it was not selected itself and only leads to what was.
	OnTheWay bool
}

// Select finds what a source of a COPY or ADD means in a context or in the merged state of another stage.
// The rules, with the place where Docker has them:
//
//   - A source is relative to the root of the tree; "x", "./x", "/x" and "x/" are the same (Dockerfile
//     reference, COPY: "the leading slash is ignored"; buildkit, system.NormalizePath). For ".." see
//     Options.Strict.
//   - Wildcards are those of Go's filepath.Match, in each part of the path ("matching will be done using
//     Go's filepath.Match rules"). The parts before the first one with a wildcard are taken as they stand, with
//     any backslash. Directories on the way of a wildcard are real ones, never symlinks. A malformed
//     pattern is an error (contenthash's path.Match), but matches nothing with the classic engine.
//   - Symlinks are followed inside the root, as in a chroot, in the parts before a wildcard and in the last
//     part of what was matched (llb.CopyInfo.FollowSymlinks); inside a directory that is copied they
//     are kept as they are. One that leads nowhere is an OutsideError if it leaves the context, else not found.
//   - Of a directory the contents are copied ("the directory itself isn't copied, only its contents").
//
// If there is nothing, the error is a NotFoundError.
//
// What Exclude and Parents change is told at filter.
func Select(ctx context.Context, t layer.Tree, pattern string, o Options) ([]Match, error) {
	s := &selector{tree: t, can: t.Capabilities(), pattern: pattern, strict: o.Strict, instruction: cmp.Or(o.Instruction, "COPY")}
	outside := leadsOut(pattern)
	source := pattern
	if o.Parents {
		if source, s.keeps = cutPivot(pattern); s.keeps == "" {
			return nil, fmt.Errorf("%s --parents %s: this says from where on to keep directories, but nothing to copy; write %s/*", s.instruction, pattern, strings.TrimSuffix(pattern, "/"))
		}
	}
	var err error
	if s.filter, err = newFilter(s.keeps, o); err != nil {
		return nil, fmt.Errorf("%s --exclude: %w", s.instruction, err)
	}
	clean := strings.TrimPrefix(path.Clean("/"+source), "/")
	if s.can.Outside && outside && o.Strict {
		return nil, &OutsideError{Instruction: s.instruction, Source: pattern}
	}
	paths := []string{clean}
	if !o.Literal {
		paths, err = s.expand(ctx, clean)
	}
	if err != nil {
		return nil, s.explain(ctx, err, outside)
	}
	if len(paths) == 0 && !o.AllowEmpty {
		return nil, s.explain(ctx, &missingError{clean, fs.ErrNotExist}, outside)
	}
	matches := make([]Match, 0, len(paths))
	for _, p := range paths {
		m, err := s.match(ctx, p)
		if err != nil {
			return nil, s.explain(ctx, err, outside)
		}
		if m.Items != nil {
			matches = append(matches, m)
		}
	}
	if o.Parents && isFixed(pattern) {
		if some, err := hasItems(ctx, matches); err != nil || !some {
			return nil, s.explain(ctx, cmp.Or(err, error(&missingError{path.Join(clean, s.keeps), fs.ErrNotExist})), outside)
		}
	}
	return matches, nil
}

// hasItems says whether any match has an item.
func hasItems(ctx context.Context, matches []Match) (bool, error) {
	for _, m := range matches {
		if some, err := m.Items.any(ctx, func(*Item) bool { return true }); some || err != nil {
			return some, err
		}
	}
	return false, nil
}

func leadsOut(pattern string) bool {
	p := path.Clean(strings.TrimLeft(pattern, "/"))
	return p == ".." || strings.HasPrefix(p, "../")
}

// selector holds what the steps of one Select share.
type selector struct {
	tree        layer.Tree
	can         layer.Capabilities // of tree
	pattern     string
	instruction string
	strict      bool
	keeps       string // Parents: the pattern of what is selected, relative to the pivot
	filter      *filter
}

// expand returns the paths that a cleaned pattern matches, in canonical order.
func (s *selector) expand(ctx context.Context, pattern string) ([]string, error) {
	parts := strings.Split(pattern, "/")
	fixed := 0
	for fixed < len(parts) && !hasWildcard(parts[fixed]) {
		fixed++
	}
	if fixed == len(parts) {
		return []string{pattern}, nil
	}
	if _, err := path.Match(pattern, ""); err != nil && !s.strict {
		return nil, fmt.Errorf("%s failed: %s: this is no pattern: %w; write \\ before a *, ? or [ that stands for itself", s.instruction, s.pattern, err)
	}
	base, e, err := s.resolve(ctx, strings.Join(parts[:fixed], "/"))
	if err != nil {
		return nil, err
	}
	if e.Type != layer.Dir {
		return nil, nil
	}
	return s.glob(ctx, nil, base, parts[fixed:])
}

// hasWildcard tells whether fsutil takes a part of a path for a pattern.
func hasWildcard(part string) bool {
	for i := 0; i < len(part); i++ {
		switch part[i] {
		case '\\':
			i++
		case '*', '?', '[':
			return true
		}
	}
	return false
}

// glob appends what the parts of a pattern match below dir.
func (s *selector) glob(ctx context.Context, out []string, dir string, parts []string) ([]string, error) {
	entries, err := s.tree.ReadDir(ctx, dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		name := path.Base("/" + e.Path)
		if ok, err := filepath.Match(parts[0], name); err != nil || !ok {
			continue
		}
		if len(parts) == 1 {
			out = append(out, e.Path)
		} else if e.Type == layer.Dir {
			if out, err = s.glob(ctx, out, e.Path, parts[1:]); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// resolve follows all symlinks of a path inside the root, ".." stopping at the root, and returns the path and
// entry that it leads to.
func (s *selector) resolve(ctx context.Context, p string) (string, *layer.Entry, error) {
	var left *OutsideError // the last symlink that left the root of a context
	at, err := layer.Follow(p, func(at, rest string) (string, error) {
		e, err := s.tree.Lookup(ctx, at)
		switch {
		case err != nil && errors.Is(err, fs.ErrNotExist) && left != nil:
			return "", left
		case err != nil:
			return "", missingAt(at, rest, err)
		case e.Type != layer.Symlink:
			return "", nil
		}
		if s.can.Outside && (path.IsAbs(e.Link) || leadsOut(path.Join(layer.Parent(at), e.Link))) {
			left = &OutsideError{Instruction: s.instruction, Source: s.pattern, Symlink: at, Link: e.Link}
		}
		return e.Link, nil
	})
	if links := (*layer.LinksError)(nil); errors.As(err, &links) {
		err = fmt.Errorf("%s failed: %s: %w; remove the loop", s.instruction, s.pattern, err)
	}
	if err != nil {
		return "", nil, err
	}
	e, err := s.tree.Lookup(ctx, at)
	return at, e, err
}

// match collects the items of a matched path.
func (s *selector) match(ctx context.Context, p string) (Match, error) {
	at, e, err := s.resolve(ctx, p)
	if err != nil {
		return Match{}, err
	}
	m := Match{Path: p, Name: path.Base("/" + p), Entry: e, Dir: e.Type == layer.Dir}
	if p == "" {
		m.Name = ""
	}
	if !m.Dir {
		if out, err := s.filter.excludesFile(m.Name); err != nil || out {
			return m, err
		}
		m.Entry, err = s.follow(ctx, e)
		m.Items = List(Item{Entry: m.Entry, Name: m.Name})
		return m, err
	}
	if s.can.Preload != nil && s.filter == nil { // what is filtered out need not be listed
		if err := s.can.Preload(ctx, at); err != nil {
			return Match{}, err
		}
	}
	m.Items, m.at, m.selector = s.below(at, ""), at, s
	return m, nil
}

// Holds says whether an item of the match has a target. Only the directories that lead there are read.
func (m *Match) Holds(ctx context.Context, target string) (bool, error) {
	items := m.Items
	if m.selector != nil {
		items = m.selector.below(m.at, target)
	}
	return items.any(ctx, func(it *Item) bool { return it.Target == target })
}

// below gives the items below a directory; with only, none but those that lead to this target.
func (s *selector) below(dir, only string) Items {
	return func(ctx context.Context, each func(*Item) error) error {
		c := collector{s: s, ctx: ctx, skip: len(dir), first: map[any]string{}, each: each, only: only}
		if dir != "" {
			c.skip++
		}
		return c.dir(dir, inside{})
	}
}

// follow returns the file that a hard link shares its inode with; other entries as they are.
func (s *selector) follow(ctx context.Context, e *layer.Entry) (*layer.Entry, error) {
	if e.Type != layer.Hardlink {
		return e, nil
	}
	target, err := s.tree.Lookup(ctx, e.Link)
	if err != nil {
		return nil, fmt.Errorf("hard link /%s: %w", e.Path, err)
	}
	return target, nil
}

// readDir returns the entries of a directory and, for each, what it has in common with the other names of
// the same file: nil if it can have none.
func (s *selector) readDir(ctx context.Context, p string) (entries []*layer.Entry, identity func(i int, e *layer.Entry) any, err error) {
	if entries, err = s.tree.ReadDir(ctx, p); err != nil {
		return nil, nil, err
	}
	if s.can.Identities == nil {
		return entries, func(_ int, e *layer.Entry) any {
			if e.Type != layer.File {
				return nil
			}
			return e.Path
		}, nil
	}
	all, err := s.can.Identities(ctx, p, entries)
	return entries, func(i int, _ *layer.Entry) any {
		if all == nil {
			return nil
		}
		return all[i]
	}, err
}
