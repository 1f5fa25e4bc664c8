package survey_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"lenskit/tools/mock"
	"lenskit/tools/search"
	"lenskit/tools/survey"
)

// Plan a survey of two lenses and ask how they stand. survey.Run fits them, survey.Merge makes the catalogue.
func Example() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	model := filepath.Join(dir, "lens.yaml")
	err = os.WriteFile(model, []byte(`
data: {size: 24, pixel_scale: 0.2, noise: 0.05, psf: {gaussian: 0.2}}
lens: [{type: sis, priors: {theta_E: {truth: 1.2}}}]
source: [{type: sersic}]
`), 0o666)
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	var lenses []string
	for seed := range uint64(2) {
		made, err := mock.Simulate(ctx, mock.Options{Config: model, Output: filepath.Join(dir, fmt.Sprintf("m%d.fits", seed+1)), Seed: seed}, nil)
		if err != nil {
			panic(err)
		}
		lenses = append(lenses, made.Config)
	}
	plan := survey.PlanOptions{Inputs: lenses, Output: filepath.Join(dir, "survey"), Search: search.Options{}.Defaults(), Device: "cpu", Scheduler: "slurm", PerTask: 1, CPUs: 2, Time: "1:00", Memory: 4000}
	planned, err := survey.Plan(plan)
	if err != nil {
		panic(err)
	}
	s, err := survey.Open(plan.Output)
	if err != nil {
		panic(err)
	}
	standing, err := s.All(ctx)
	if err != nil {
		panic(err)
	}
	fmt.Println(planned.Lenses, "lenses in", planned.Tasks, "tasks")
	for _, lens := range standing {
		fmt.Println(lens.Index, lens.Name, lens.State)
	}
	// Output:
	// 2 lenses in 2 tasks
	// 1 m1 pending
	// 2 m2 pending
}
