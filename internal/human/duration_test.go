package human

import (
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"24h": 24 * time.Hour, "7d": 7 * 24 * time.Hour, "1w2d": 9 * 24 * time.Hour, "1.5h": 90 * time.Minute,
		"90s": 90 * time.Second, "10m": 10 * time.Minute, "5ms": 5 * time.Millisecond, "7us": 7 * time.Microsecond, ".5m": 30 * time.Second, "1.s": time.Second, "0s": 0,
	} {
		if got, ok := ParseDuration(text); got != want || !ok {
			t.Errorf("ParseDuration(%q) = %v, %v, want %v", text, got, ok, want)
		}
	}
	for _, text := range []string{"", "4", "d", "app", "7days", "-1h", "7d,", "1e3h", "999999999999w", "7 d"} {
		if got, ok := ParseDuration(text); ok {
			t.Errorf("ParseDuration(%q) = %v", text, got)
		}
	}
}
