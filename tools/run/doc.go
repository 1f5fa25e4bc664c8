// Package run fits a lens and keeps what that leaves in a folder: the record (fit.json), images (fit.fits), the config as it was
// fitted, figures.
//
//	err := run.Fit(ctx, run.Options{Input: "lens.yaml", Output: "fit"}, io.Discard, nil)
//	rec, err := run.ReadRecord("fit")
//	radius, ok := rec.Parameters.Get("lens.sie.theta_E")
package run
