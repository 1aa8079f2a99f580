package explain

import (
	"bytes"
	"context"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/human/redact"
	"github.com/strata-build/strata/internal/layer"
)

const (
	maxDiffed   = 64 << 10 // bytes of a file whose lines are compared
	maxLines    = 3        // lines of each version that are shown
	maxLineText = 100      // characters of a line
)

// diffLines gives the first lines that differ between two versions of a small text, and the number of the first;
// nothing for what is large or no text.
func diffLines(ctx context.Context, old, now layer.Source, a, b *layer.Entry) (int, []string) {
	if a.Type != layer.File || b.Type != layer.File || a.Digest == b.Digest {
		return 0, nil
	}
	before, okA := readText(ctx, old, a)
	after, okB := readText(ctx, now, b)
	if !okA || !okB {
		return 0, nil
	}
	return firstChange(before, after)
}

// readText reads a file of a layer if it is a small text.
func readText(ctx context.Context, l layer.Source, e *layer.Entry) (string, bool) {
	if l == nil || e.Size > maxDiffed {
		return "", false
	}
	f, err := l.Open(ctx, e)
	if err != nil {
		return "", false
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxDiffed+1))
	if err != nil || len(data) > maxDiffed || !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0 {
		return "", false
	}
	return string(data), true
}

// firstChange shows the beginning of the first run of lines that differ.
func firstChange(before, after string) (int, []string) {
	old, now := splitLines(before), splitLines(after)
	start := 0
	for start < len(old) && start < len(now) && old[start] == now[start] {
		start++
	}
	endOld, endNow := len(old), len(now)
	for endOld > start && endNow > start && old[endOld-1] == now[endNow-1] {
		endOld, endNow = endOld-1, endNow-1
	}
	// Where as many lines went as came, those in between that are equal end the run.
	if endOld-start == endNow-start {
		for i := start; i < endOld; i++ {
			if old[i] == now[i] {
				endOld, endNow = i, i
			}
		}
	}
	var lines []string
	for _, l := range old[start:min(endOld, start+maxLines)] {
		lines = append(lines, "-"+showLine(l))
	}
	for _, l := range now[start:min(endNow, start+maxLines)] {
		lines = append(lines, "+"+showLine(l))
	}
	if len(lines) == 0 {
		return 0, nil // only the end of the last line differs
	}
	return start + 1, lines
}

func splitLines(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

func showLine(line string) string {
	return human.Shorten(human.Clean(redact.Mask(strings.TrimSuffix(line, "\r"))), maxLineText)
}
