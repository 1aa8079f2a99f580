package disk

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// A sum is that of all bytes, and no sum where the reading is given up.
func TestSum(t *testing.T) {
	text := strings.Repeat("some text ", 100_000)
	if got, err := Sum(t.Context(), strings.NewReader(text)); got != digest.FromString(text) || err != nil {
		t.Errorf("the sum is %s, %v", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got, err := Sum(ctx, strings.NewReader(text)); got != "" || !errors.Is(err, context.Canceled) {
		t.Errorf("given up, the sum is %q, %v", got, err)
	}
}
