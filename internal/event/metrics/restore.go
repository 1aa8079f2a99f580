package metrics

import (
	"slices"
	"strconv"
	"strings"
)

// Restore adds to the set what an earlier Write gave of one like it, in the form Text: counters and histograms go on from
// there, and gauges that were not set yet have their values. What is not understood, or of no metric of the set, is left
// out: a file that somebody broke costs the counts before.
func (s *Set) Restore(text []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	past := map[*family]map[string]*row{}
	for line := range strings.Lines(string(text)) {
		if name, labels, values, number, ok := parseRow(strings.TrimSpace(line)); ok {
			s.restoreRow(past, name, labels, values, number)
		}
	}
	for f, rows := range past {
		for _, r := range rows {
			f.merge(r)
		}
	}
}

// restoreRow puts a row that was read where it belongs in past. The buckets there are still sums of all smaller ones.
func (s *Set) restoreRow(past map[*family]map[string]*row, name string, labels, values []string, number float64) {
	i := slices.IndexFunc(s.families, func(f *family) bool {
		if f.kind == histogram {
			return name == f.name+"_bucket" || name == f.name+"_sum" || name == f.name+"_count"
		}
		return f.kind != info && name == f.name+f.suffix()
	})
	if i < 0 {
		return
	}
	f, bound := s.families[i], ""
	if n := len(labels) - 1; strings.HasSuffix(name, "_bucket") && n >= 0 && labels[n] == "le" {
		labels, values, bound = labels[:n], values[:n], values[n]
	}
	if !slices.Equal(labels, f.labels) {
		return
	}
	if past[f] == nil {
		past[f] = map[string]*row{}
	}
	key := strings.Join(values, "\xff")
	r := past[f][key]
	if r == nil {
		r = &row{values: values, buckets: make([]uint64, len(f.bounds))}
		past[f][key] = r
	}
	switch {
	case bound != "":
		if k := slices.IndexFunc(f.bounds, func(b float64) bool { return formatNumber(b) == bound }); k >= 0 {
			r.buckets[k] = uint64(number)
		}
	case f.kind == histogram && name == f.name+"_count":
		r.count = uint64(number)
	default:
		r.value = number
	}
}

// merge adds what was read to a row. The lock is held.
func (f *family) merge(past *row) {
	if f.kind == gauge {
		if f.rows[strings.Join(past.values, "\xff")] == nil {
			f.row(past.values).value = past.value
		}
		return
	}
	if !slices.IsSorted(past.buckets) || len(past.buckets) > 0 && past.buckets[len(past.buckets)-1] > past.count {
		return
	}
	r := f.row(past.values)
	r.value += past.value
	r.count += past.count
	var below uint64
	for i, n := range past.buckets {
		r.buckets[i] += n - below
		below = n
	}
}

// maxNumber is the most that is read of a file: up to there a float64 counts one by one.
const maxNumber = 1 << 53

// parseRow reads NAME{LABEL="VALUE",…} NUMBER, as writer.row writes it.
func parseRow(line string) (name string, labels, values []string, number float64, ok bool) {
	end := strings.IndexAny(line, "{ ")
	if end <= 0 {
		return "", nil, nil, 0, false
	}
	name, rest := line[:end], line[end:]
	if rest[0] == '{' {
		rest = rest[1:]
		for !strings.HasPrefix(rest, "}") {
			label, after, found := strings.Cut(rest, `="`)
			if !found {
				return "", nil, nil, 0, false
			}
			value, after, found := unquote(after)
			if !found {
				return "", nil, nil, 0, false
			}
			labels, values = append(labels, label), append(values, value)
			rest = strings.TrimPrefix(after, ",")
		}
		rest = rest[1:]
	}
	number, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
	if err != nil || !(number >= 0 && number <= maxNumber) {
		return "", nil, nil, 0, false
	}
	return name, labels, values, number, true
}

// unquote reads a value up to its quotation mark, and what comes after that.
func unquote(text string) (value, after string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			return b.String(), text[i+1:], true
		case c == '\\' && i+1 < len(text):
			i++
			if text[i] == 'n' {
				b.WriteByte('\n')
			} else {
				b.WriteByte(text[i])
			}
		default:
			b.WriteByte(c)
		}
	}
	return "", "", false
}
