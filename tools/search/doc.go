// Package search finds the maximum a posteriori of a lens without a start given by hand, and says whether to trust it.
//
// Its stages stand in decision 0005: simple sources on a small image, the pixelised source where the lens shines, the decoder
// below the best lenses, everything at full size. Options has the budget, Result the maximum, the Hessian and the doubts.
//
//	s := search.Search{Problem: p, Options: search.Options{Seed: 1}.Defaults(), Tell: tell, Saved: &search.Record{}, Save: save}
//	res, err := s.Find(ctx)
//	theta := make([]float64, len(p.Post.Names()))
//	p.Post.Theta(theta, res.U)
package search
