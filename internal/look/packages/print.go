package packages

import (
	"fmt"

	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/human/style"
	"github.com/strata-build/strata/internal/look/view"
)

// PrintChanges prints for each layer the packages that it added, upgraded and removed.
func (inv *Inventory) PrintChanges(p *view.Printer) error {
	for i, l := range inv.Layers {
		if i > 0 {
			p.Line("")
		}
		base := ""
		if l.Base {
			base = ", base image"
		}
		p.Line("%s  %s", p.Paint(style.Bold, fmt.Sprintf("layer %d%s", l.Layer, base)), human.Shorten(human.Clean(l.Instruction), 100))
		for _, c := range l.Changes {
			sign, color := "", style.Yellow
			switch {
			case c.Before == "":
				color = style.Green
			case c.After == "":
				color = style.Red
			default:
				sign = "~ "
			}
			p.Line("  %s  (%s)", p.Paint(color, sign+human.Clean(c.String())), c.Manager)
		}
	}
	for _, u := range inv.Unread {
		p.Line("%s", p.Paint(style.Yellow, human.Clean(u.String())))
	}
	return nil
}
