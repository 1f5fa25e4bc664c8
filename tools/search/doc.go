// Package search finds the maximum a posteriori of a lens without a start given by hand, and says whether to trust it.
//
// A search is a list of stages (strategy.go), one for a config, one where the lens shines, and either with a source of type pixels;
// decisions 0005 and 0012 say why these:
//
//	priors ─▶ draws ─────────────────────────────────────────────────────▶ decoder ─▶ full size ─▶ verdict
//	priors ─▶ light ─▶ arcs ─▶ joint ─▶ pixelised source ─▶ rivals ─▶ ...  decoder ─▶ full size ─▶ held radius ─▶ verdict
//	priors ─▶ draws, or light ─▶ arcs ─▶ joint ─▶ coarse, middle, nested pixelised source ─▶ full size ─▶ verdict
//	config that states a start ─────────────────────────────────────────────────────▶ full size ─▶ verdict
//
// What goes along an arrow is a list of Found: no stage reads what another has left elsewhere. A Climber climbs for them, by
// Levenberg-Marquardt, BFGS or Adam, and goes on where it was stopped: every climb has a key in the Record, which the caller saves.
//
// Options are what a user chooses for each fit, Settings the numbers of the strategy: a struct that says unit and reason of each,
// filled by DefaultSettings, changed by `search:` in a config, written to fit.json, listed in docs/search.md.
//
// Result has the maximum, the curvature there and the doubts (search.go, verdict.go; precheck.go for what is not begun).
//
//	s := search.Search{Problem: p, Options: search.Options{Seed: 1}.Defaults(), Tell: tell, Saved: &search.Record{}, Save: save}
//	res, err := s.Find(ctx)
//	theta := make([]float64, len(p.Post.Names()))
//	p.Post.Theta(theta, res.U)
package search
