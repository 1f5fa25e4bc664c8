//go:build unix

package main

import (
	"strings"
	"testing"

	"lenskit/internal/kills"
)

// TestKills stops a few runs at random and lets them go on; scripts/kills does so at length.
func TestKills(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	bench, err := kills.NewBench(ownBinary(t), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	done := 0
	for seed := uint64(1); done < 12 && seed < 40; seed++ {
		w := kills.Works[int(seed)%len(kills.Works)]
		if w.Slow {
			continue
		}
		trial, err := bench.Stop(w, seed, kills.Signals)
		if err != nil {
			t.Fatal(err)
		}
		done += trial.Kills()
		if len(trial.Faults) > 0 {
			t.Errorf("scripts/kills 1 -run '^%s$' -seed %d: %s: %s", w.Name, seed, strings.Join(trial.Stops, ", "), strings.Join(trial.Faults, "; "))
		}
	}
	if done < 12 {
		t.Errorf("%d kills met a run, expected 12", done)
	}
}
