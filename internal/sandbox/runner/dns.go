package runner

import "strings"

// DNS are the settings of a container's /etc/resolv.conf that are not to be the machine's; a nil list is.
type DNS struct {
	Servers, Search, Options []string
}

// change gives resolv.conf the settings. The lines of the others stay as they are.
func (d *DNS) change(resolv string) string {
	kinds := []struct {
		word   string
		values []string
		single bool // all on one line
	}{{"nameserver", d.Servers, false}, {"search", d.Search, true}, {"options", d.Options, true}}
	var b strings.Builder
	for line := range strings.Lines(resolv) {
		fields := strings.Fields(line)
		replaced := false
		for _, k := range kinds {
			replaced = replaced || len(fields) > 0 && fields[0] == k.word && len(k.values) > 0
		}
		if !replaced {
			b.WriteString(line)
		}
	}
	text := b.String()
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	for _, k := range kinds {
		switch {
		case len(k.values) == 0 || k.single && k.values[0] == ".": // docker's word for none
		case k.single:
			text += k.word + " " + strings.Join(k.values, " ") + "\n"
		default:
			for _, v := range k.values {
				text += k.word + " " + v + "\n"
			}
		}
	}
	return text
}
