package sample

import (
	"bytes"
	"context"
	"fmt"
	"reflect"
	"testing"
)

// Coordinates that were being looked for when the run was stopped are gone on with: no evaluation is made twice.
func TestNotedEvaluationsAreNotMadeAgain(t *testing.T) {
	p, theta := sampleTestProblem(t)
	made := 0
	run := func(data []byte, stop int) (*approximation, []byte, error) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		here := 0
		notes := &journal{ctx: ctx, data: data, tell: func() error {
			made++
			if here++; here == stop {
				cancel()
			}
			return nil
		}}
		g, err := chooseCoordinates(p, ctx, notes, theta, (&Settings{Warmup: 10, Draws: 20, Chains: 2, Seed: 1}).stream(3))
		return g, notes.Data(), err
	}
	want, whole, err := run(nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	once := made
	made = 0
	var data []byte
	for stops := 0; ; stops++ {
		g, noted, err := run(data, 1+stops%7)
		data = noted
		if err != nil {
			continue
		}
		if made != once || !bytes.Equal(data, whole) {
			t.Errorf("after %d stops %d evaluations were made, want %d", stops, made, once)
		}
		if !reflect.DeepEqual(g.coords, want.coords) || !reflect.DeepEqual(g.normal, want.normal) || g.misfit != want.misfit || !reflect.DeepEqual(g.tally, want.tally) {
			t.Errorf("after %d stops the coordinates are others", stops)
		}
		break
	}
	// what does not fit is computed anew
	data = append(fmt.Appendf(nil, "%s", whole[:len(whole)/3]), 9, 9, 9)
	if g, noted, err := run(data, 0); err != nil || !bytes.Equal(noted, whole) || !reflect.DeepEqual(g.normal, want.normal) {
		t.Errorf("a journal with an end of its own: %v", err)
	}
}
