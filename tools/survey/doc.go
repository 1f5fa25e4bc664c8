// Package survey plans, runs, tells and merges fits of many lenses under a batch system. It starts no jobs itself: a plan has the
// script, Run does one index of it, Merge makes the catalogue.
//
//	planned, err := survey.Plan(survey.PlanOptions{Inputs: []string{"list.csv"}, Output: "survey", Search: search.Options{}.Defaults(),
//		Device: "cpu", Scheduler: "slurm", PerTask: 1, CPUs: 4, Time: "2:00", Memory: 8000, Program: "lenskit"})
//	err = survey.Run(ctx, survey.RunOptions{Dir: "survey", Index: "1-5"}, io.Discard, nil)
//	made, standing, err := survey.Merge(ctx, survey.MergeOptions{Dir: "survey"})
package survey
