package explain

import (
	"fmt"

	"github.com/strata-build/strata/internal/cache"
	"github.com/strata-build/strata/internal/human/redact"
)

// compareRemote tells which remote sources of an ADD are not what they were: "the URL http://… gave
// other bytes", "the branch main of https://… went from 0123456789ab to ba9876543210".
func compareRemote(m *Miss, near *cache.Record) []Reason {
	if m.Copied == nil || len(m.Copied.Remote) == 0 {
		return nil
	}
	was, is := map[cache.PartName][]string{}, map[cache.PartName][]string{}
	for _, part := range []cache.PartName{cache.PartURL, cache.PartGit} {
		was[part], is[part] = near.Values(part), m.Key.Values(part)
		if len(was[part]) != len(is[part]) {
			return nil // the instruction names others
		}
	}
	next := func(values map[cache.PartName][]string, part cache.PartName) (value string) {
		value, values[part] = values[part][0], values[part][1:]
		return value
	}
	var reasons []Reason
	for _, source := range m.Copied.Remote {
		part := cache.PartURL
		if source.Git {
			part = cache.PartGit
		}
		before, after := next(was, part), next(is, part)
		var text string
		if source.Git {
			text = fmt.Sprintf("%s went from %s to %s", source.Name, shortCommit(before), shortCommit(after))
		} else {
			text = fmt.Sprintf("%s gave other bytes: %s → %s", source.Name, shortSum(before), shortSum(after))
		}
		if before != after {
			reasons = append(reasons, Reason{Kind: Remote, Text: redact.Mask(text), Before: before, After: after})
		}
	}
	return reasons
}

// shortSum is a digest in short. Records may come from elsewhere, so it may be anything.
func shortSum(sum string) string { return sum[:min(len("sha256:")+12, len(sum))] }

func shortCommit(id string) string { return id[:min(12, len(id))] }
