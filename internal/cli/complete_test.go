package cli

import (
	"regexp"
	"strings"
	"testing"
)

// TestOffers: a command that takes something which the store or a file at hand has names of offers them, and each
// --filter offers its keys.
func TestOffers(t *testing.T) {
	names := regexp.MustCompile(`\b(IMAGE|STEP-ID|CONTAINER|VOLUME|BUILD|REF|TARGET|SERVICE|REPOSITORY)\b`)
	arguments := argOffers()
	for _, cmd := range commands(t) {
		path := strings.TrimPrefix(cmd.CommandPath(), "strata ")
		if strings.HasPrefix(cmd.Short, "Not supported") {
			continue
		}
		if !cmd.HasSubCommands() && names.MatchString(cmd.Use) && arguments[path] == nil && arguments[cmd.Name()] == nil {
			t.Errorf("%s takes %q, and completion offers nothing: add it to argOffers", path, cmd.Use)
		}
		if cmd.Flags().Lookup("filter") != nil && filterKeys[path] == nil {
			t.Errorf("%s has --filter, and completion offers no keys: add it to filterKeys", path)
		}
	}
	for path := range filterKeys {
		cmd, _, err := commands(t)[0].Find(strings.Fields(path))
		if err != nil || strings.TrimPrefix(cmd.CommandPath(), "strata ") != path || cmd.Flags().Lookup("filter") == nil {
			t.Errorf("filterKeys has %s, which has no --filter", path)
		}
	}
}
