package selection

import (
	"path"
	"strings"
	"unicode/utf8"

	"github.com/moby/patternmatcher"
)

// filter says which of the things below a directory are copied, by the patterns of COPY --exclude and --parents.
//
// Both are matched by moby/patternmatcher, as .dockerignore is, against paths relative to the directory that is copied:
// with --exclude the source itself, with --parents what stands before "/./" in the source, or else the root. A pattern
// also matches all that lies below what it matches; "**" stands for any number of directories; "!" in front of an
// --exclude takes back what an earlier one left out. A directory that is not selected becomes part of the copy only if
// something in it does (fsutil copy.go, copyDirectory and createParentDirs).
//
// A source that is a file is left out if an --exclude matches its name. So says the Dockerfile reference ("even if
// their paths match the pattern specified in <src>"); BuildKit up to v0.32 copies it (moby/buildkit issue 5489).
type filter struct {
	include, exclude *patternmatcher.PatternMatcher
	// fixed is the part of the include pattern that has no wildcard: no other directory has to be entered.
	fixed string
}

// newFilter makes the filter of a source; nil if everything is copied. below is the pattern that --parents has.
func newFilter(below string, o Options) (*filter, error) {
	if !o.Parents && len(o.Exclude) == 0 {
		return nil, nil
	}
	f := &filter{}
	var err error
	if o.Parents {
		if f.include, err = patternmatcher.New([]string{Pattern(below)}); err != nil {
			// A malformed pattern of a source matches nothing.
			f.include, err = patternmatcher.New(nil)
		}
		f.fixed = fixedPart(below)
	}
	if err == nil && len(o.Exclude) > 0 {
		patterns := make([]string, len(o.Exclude))
		for i, p := range o.Exclude {
			patterns[i] = Pattern(p)
		}
		f.exclude, err = patternmatcher.New(patterns)
	}
	return f, err
}

// Pattern makes a pattern fit for patternmatcher, which prints a message of its own on standard error for each byte that is
// not UTF-8 (text/scanner does). It stands for itself there, as in a path: as the replacement character, in a class.
func Pattern(p string) string {
	if utf8.ValidString(p) {
		return p
	}
	var b strings.Builder
	for i, r := range p {
		if _, width := utf8.DecodeRuneInString(p[i:]); r == utf8.RuneError && width == 1 {
			b.WriteString("[\uFFFD]")
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// cutPivot parts a source of COPY --parents at its first "/./": what comes before is the directory from which on
// directories are kept (dispatchCopy in BuildKit's convert_copy.go). The second part is clean.
func cutPivot(source string) (dir, pattern string) {
	dir, pattern, ok := strings.Cut(source, "/./")
	if !ok {
		dir, pattern = "/", source
	}
	return dir, strings.TrimPrefix(path.Clean("/"+pattern), "/")
}

// isFixed tells that no part of a source is a pattern, so that it has to be there.
func isFixed(source string) bool {
	for part := range strings.SplitSeq(source, "/") {
		if hasWildcard(part) {
			return false
		}
	}
	return true
}

// fixedPart is what of a pattern comes before its first part with a wildcard.
func fixedPart(pattern string) string {
	var fixed []string
	for part := range strings.SplitSeq(pattern, "/") {
		if strings.ContainsAny(part, `*?[\^`) || part == "" {
			break
		}
		fixed = append(fixed, part)
	}
	return strings.Join(fixed, "/")
}

// inside is what is known of a directory when what it holds is tested.
type inside struct{ include, exclude patternmatcher.MatchInfo }

// test says of a path whether it is selected, whether something below it can be, and what is to be known for that.
func (f *filter) test(path string, isDir bool, in inside) (selected, enters bool, below inside, err error) {
	if f == nil {
		return true, true, below, nil
	}
	selected, enters = true, isDir
	if f.include != nil {
		if selected, below.include, err = f.include.MatchesUsingParentResults(path, in.include); err != nil {
			return false, false, below, err
		}
		enters = isDir && (selected || f.mayHold(path))
	}
	if f.exclude == nil {
		return selected, enters, below, nil
	}
	excluded, info, err := f.exclude.MatchesUsingParentResults(path, in.exclude)
	below.exclude = info
	if excluded {
		selected, enters = false, enters && f.exclude.Exclusions()
	}
	return selected, enters, below, err
}

// mayHold says whether what the include pattern matches can be below a directory.
func (f *filter) mayHold(dir string) bool {
	return strings.HasPrefix(f.fixed+"/", dir+"/") || f.fixed == "" || strings.HasPrefix(dir+"/", f.fixed+"/")
}

// excludesFile says whether a source that is a file is left out.
func (f *filter) excludesFile(name string) (bool, error) {
	if f == nil || f.exclude == nil {
		return false, nil
	}
	return f.exclude.MatchesOrParentMatches(name)
}

// ExcludesFile says whether the patterns of an --exclude leave out a source that is a file of this name.
func ExcludesFile(patterns []string, name string) (bool, error) {
	f, err := newFilter("", Options{Exclude: patterns})
	if err != nil {
		return false, err
	}
	return f.excludesFile(name)
}
