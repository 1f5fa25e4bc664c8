package search

import (
	"fmt"
	"math"
	"testing"

	"lenskit/adjoint"
	"lenskit/internal/check"
	"lenskit/tools/config"
	"lenskit/tools/problem"
)

// An angle takes the copy that its prior holds likeliest, within its bounds, and nothing else moves.
func TestAnglesEndAtTheirLikeliestCopies(t *testing.T) {
	for _, c := range []struct {
		prior    string
		at, want float64
	}{
		{"{normal: [0, 1]}", 2.5, 2.5 - math.Pi},
		{"{normal: [0, 1]}", -1.5, -1.5},
		{"{normal: [0, 1]}", 1.5, 1.5},
		{"{normal: [0, 1]}", 30, 30 - 10*math.Pi},
		{"{normal: [7, 1]}", 0.5, 0.5 + 2*math.Pi},
		{"{normal: [0, 1e4]}", 3e4, 3e4 - math.Pi*math.Round(3e4/math.Pi)},
		{"{normal: [0, 1], bounds: [0, 3.2]}", 2.5, 2.5}, // the copy is out of bounds
		{"{uniform: [-10, 10]}", 2.5, 2.5},               // none is likelier
		{"{lognormal: [0, 0.5]}", 6.5, 6.5 - 2*math.Pi},
		{"{normal: [1, 0.5], bounds: [-1.5, 4.5]}", -1, math.Pi - 1},
	} {
		t.Run(fmt.Sprint(c.prior, c.at), func(t *testing.T) {
			cfg, err := config.Parse("c.yaml", fmt.Appendf(nil, "data: {size: 8, pixel_scale: 0.1, noise: 1}\nlens: [{type: sple, priors: {phi: %s, gamma: {fixed: 2}}}, {type: shear}]\nsource: [{type: sersic}]\n", c.prior))
			if err != nil {
				t.Fatal(err)
			}
			p, err := problem.New(cfg, adjoint.Options{Threads: 1})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			u := make([]float64, p.Post.Dim())
			for i := range u {
				u[i] = 0.1 * float64(i%7)
			}
			theta := make([]float64, len(p.Post.Names()))
			p.Post.Theta(theta, u)
			k := p.Index["lens.sple.phi"]
			f := p.Post.Free()[k]
			theta[k] = c.at
			w := make([]float64, len(u))
			if err := p.Post.U(w, theta); err != nil {
				t.Fatal(err)
			}
			u[f] = w[f]
			got := likeliestAngles(p, u)
			if (got == nil) != (c.want == c.at) {
				t.Fatalf("got %v, want a change: %v", got, c.want != c.at)
			}
			if got == nil {
				return
			}
			p.Post.Theta(theta, got)
			check.Close(t, "phi", theta[k], c.want, 1e-6, 1)
			for i := range u {
				if i != f && got[i] != u[i] {
					t.Errorf("coordinate %d went from %v to %v", i, u[i], got[i])
				}
			}
		})
	}
}
