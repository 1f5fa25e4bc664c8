package search_test

import (
	"context"
	"fmt"

	"lenskit/adjoint"
	"lenskit/tools/config"
	"lenskit/tools/problem"
	"lenskit/tools/search"
)

// Find the maximum of a posterior and keep nothing of it on disk; run.Fit is the same with a folder. The data, zero here, leave
// the source's brightness at the least that its prior has.
func ExampleSearch_Find() {
	cfg, err := config.Parse("lens.yaml", []byte(`
data: {size: 24, pixel_scale: 0.2, noise: 0.05, psf: {gaussian: 0.2}}
lens: [{type: sis, priors: {theta_E: {normal: [1.2, 0.1]}, center_x: {fixed: 0}, center_y: {fixed: 0}}}]
source: [{type: sersic, priors: {amp: {lognormal: [0, 0.5]}, r_sersic: {fixed: 0.3}, n: {fixed: 1}, e1: {fixed: 0}, e2: {fixed: 0}, center_x: {fixed: 0}, center_y: {fixed: 0}}}]
`))
	if err != nil {
		panic(err)
	}
	p, err := problem.New(cfg, adjoint.Options{})
	if err != nil {
		panic(err)
	}
	defer p.Close()
	s := search.Search{Problem: p, Options: search.Options{Starts: 4, Seed: 1}.Defaults(), Tell: func(search.State) {},
		Saved: &search.Record{}, Save: func() error { return nil }}
	res, err := s.Find(context.Background())
	if err != nil {
		panic(err)
	}
	fmt.Println("coordinates:", len(res.U), "trusted:", len(res.Doubts) == 0)
	// Output: coordinates: 2 trusted: false
}
