// Package dbtest helps tests of what goes by the times in meta.db.
package dbtest

import (
	"runtime"

	"github.com/strata-build/strata/internal/store/db"
)

// Tick waits until the clock of meta.db, which has milliseconds, shows another time. A prune spares what was used in the
// millisecond in which it begins: after Tick, what was used before counts as older.
func Tick() {
	for now := db.Now(); db.Now() == now; {
		runtime.Gosched()
	}
}
