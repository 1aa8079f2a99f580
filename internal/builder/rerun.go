package builder

import (
	"fmt"

	"github.com/strata-build/strata/internal/builder/solver"
	"github.com/strata-build/strata/internal/human"
)

// RefreshAll is the --refresh of all steps that fetch.
const RefreshAll = "all"

// chooseSteps finds the steps that --no-cache-filter, --observe and --refresh name.
func (p *part) chooseSteps(c *Caching) (err error) {
	if len(c.NoCacheFilter) > 0 {
		if p.filter, err = p.plan.Select(c.NoCacheFilter); err != nil {
			return fmt.Errorf("--no-cache-filter: %w", err)
		}
	}
	p.observe = solver.Observe{On: c.Observe.On, Verify: c.Observe.Verify}
	if len(c.Observe.Except) > 0 {
		if p.observe.Except, err = p.plan.Select(c.Observe.Except); err != nil {
			return fmt.Errorf("--observe=off: %w", err)
		}
	}
	if c.Refresh == nil {
		return nil
	}
	p.refresh = &solver.Refresh{}
	var only []string
	for _, text := range c.Refresh {
		if age, ok := human.ParseDuration(text); ok {
			p.refresh.Age = age
		} else if text != RefreshAll {
			only = append(only, text)
		}
	}
	if len(only) == 0 {
		return nil
	}
	if p.refresh.Only, err = p.plan.Select(only); err != nil {
		return fmt.Errorf("--refresh: %w\n  or an age such as 24h or 7d", err)
	}
	return nil
}
