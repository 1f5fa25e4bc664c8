package term

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
)

func TestANilProgressIsSilent(t *testing.T) {
	var none *Progress
	p := none.OrSilent()
	p.Stage("x", 3)
	p.Step(ProgressState{Step: 1, LogPost: math.NaN(), ReducedChi2: math.NaN()})
	p.Say("a")
	p.Warn("b")
	p.End()
	if !p.Quiet || p.OrSilent() != p {
		t.Errorf("got %+v", p)
	}
}

func TestErrorsTellTheirCause(t *testing.T) {
	for _, row := range []struct {
		err                       error
		notConverged, interrupted bool
	}{
		{NotConverged("x"), true, false},
		{fmt.Errorf("lens 3: %w", NotConverged("x")), true, false},
		{WithHint(Interrupted("x"), "y"), false, true},
		{BadInput("x"), false, false},
		{Numerical("x"), false, false},
		{errors.New("x"), false, false},
		{nil, false, false},
	} {
		if a, b := errors.Is(row.err, ErrNotConverged), errors.Is(row.err, ErrInterrupted); a != row.notConverged || b != row.interrupted {
			t.Errorf("%v: got %v, %v", row.err, a, b)
		}
	}
}

func TestOrderedValuesAreReadByName(t *testing.T) {
	var v OrderedValues
	if err := json.Unmarshal([]byte(`{"z": 1.5, "a": null, "m": -2}`), &v); err != nil {
		t.Fatal(err)
	}
	if x, ok := v.Get("m"); !ok || x != -2 {
		t.Errorf("m: got %v, %v", x, ok)
	}
	if x, ok := v.Get("a"); !ok || !math.IsNaN(x) {
		t.Errorf("a: got %v, %v", x, ok)
	}
	if x, ok := v.Get("b"); ok {
		t.Errorf("b: got %v", x)
	}
	var names []string
	for name := range v.All() {
		if names = append(names, name); name == "a" {
			break
		}
	}
	if !slices.Equal(names, []string{"z", "a"}) {
		t.Errorf("got %v", names)
	}
}
