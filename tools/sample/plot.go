package sample

import (
	"os"
	"path/filepath"

	"lenskit/internal/disk"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"
	"lenskit/tools/run"
)

// figureMakers are the kinds of figure: each is drawn where the file it is drawn from exists. A new kind is one row.
var figureMakers = []struct {
	from, makes string
	draw        func(dir string, files []string) error // files are those of the chains
}{
	{rundir.FitFITS, rundir.FitPNG, func(dir string, _ []string) error { return run.Draw(dir) }},
	{rundir.SummaryJSON, rundir.CornerPNG, drawCorner},
	{rundir.SummaryJSON, rundir.TracePNG, drawTrace},
	{rundir.SamplesFITS, rundir.MomentsPNG, func(dir string, _ []string) error { return run.DrawMoments(dir) }},
}

// Plot draws the figures of the run in dir and returns their paths; with grids also that of the grids of its pixelised sources.
func Plot(dir string, grids bool) ([]string, error) {
	info, err := os.Stat(dir)
	switch {
	case err != nil:
		return nil, term.BadInput("%s: %s", dir, term.Reason(err))
	case !info.IsDir():
		return nil, term.BadInput("%s: is a file, expected the folder of a run", dir)
	}
	release, err := disk.Lock(dir)
	if err != nil {
		return nil, err
	}
	defer release()
	var files []string
	if draws, err := run.DrawnIn(dir); err != nil {
		return nil, err
	} else if draws != nil {
		if err := draws.Check(dir); err != nil {
			return nil, err
		}
		files = draws.Names
	}
	var made []string
	for _, m := range figureMakers {
		if _, err := os.Stat(filepath.Join(dir, m.from)); err != nil {
			continue
		}
		if err := m.draw(dir, files); err != nil {
			return made, err
		}
		made = append(made, filepath.Join(dir, m.makes))
	}
	if grids {
		if err := run.DrawGrids(dir); err != nil {
			return made, err
		}
		made = append(made, filepath.Join(dir, rundir.GridsPNG))
	}
	if made == nil {
		return nil, term.BadInput("%s: holds no results, expected the folder of a run with %s", dir, rundir.FitFITS)
	}
	return made, nil
}
