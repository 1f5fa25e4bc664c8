package search

import (
	"context"
	"errors"
	"testing"

	"lenskit/tools/config"
)

// What a stage finds bears its name, what it hands on that of the stage it came from, and an error ends the search.
func TestStagesSignWhatTheyFind(t *testing.T) {
	wrong := errors.New("wrong")
	seen := 0
	stages := []Stage{
		{"first", func(_ context.Context, _ *Climber, found []Found) ([]Found, error) {
			return append(found, Found{Theta: config.Named{"a": 1}}, Found{Theta: config.Named{"a": 2}}), nil
		}},
		{"second", func(_ context.Context, _ *Climber, found []Found) ([]Found, error) {
			seen = len(found)
			return append([]Found{{End: &StageEnd{LogProb: 7}, Radius: 1.5}}, found[1:]...), nil
		}},
	}
	c := newClimber(&Search{Saved: &Record{}})
	found, err := c.through(context.Background(), stages, nil)
	if err != nil || seen != 2 || len(found) != 2 || found[0].From != "second" || found[1].From != "first" || found[1].Theta["a"] != 2 {
		t.Fatalf("got %+v (%v), %d came to the second", found, err, seen)
	}
	if ends := endsFrom("second", found); len(ends) != 1 || ends[0].LogProb != 7 {
		t.Errorf("from the second: %v", ends)
	}
	bad := append([]Stage{{"bad", func(context.Context, *Climber, []Found) ([]Found, error) { return nil, wrong }}}, stages...)
	if found, err := c.through(context.Background(), bad, nil); !errors.Is(err, wrong) || found != nil {
		t.Errorf("got %v, %v", found, err)
	}
}

// A stage is told by its name what it may go on from: no strategy has two of one name.
func TestStagesHaveNamesOfTheirOwn(t *testing.T) {
	for _, strategy := range [][]Stage{fromPriors, fromLensLight, fromConfig} {
		seen := map[string]bool{}
		for _, s := range strategy {
			if seen[s.Name] || s.Name == "" || s.Run == nil {
				t.Errorf("stage %q", s.Name)
			}
			seen[s.Name] = true
		}
		if !seen[fullStage] {
			t.Errorf("a strategy without full size has no maximum to judge: %v", seen)
		}
	}
}
