package run

import (
	"math"
	"path/filepath"
	"slices"

	"lenskit/adjoint"
	"lenskit/physics"
	"lenskit/tools/config"
	"lenskit/tools/internal/figure"
	"lenskit/tools/internal/fits"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"
	"lenskit/tools/lensing"
	"lenskit/tools/problem"
)

// Pixelised is what fit.json tells of a pixelised source.
type Pixelised struct {
	Grids           []Grid             `json:"grids"`
	Splines         int                `json:"splines"` // of all grids
	Smoothness      int                `json:"smoothness"`
	Hyperparameters term.OrderedValues `json:"hyperparameters"` // those of its prior, without the latents of an envelope
}

// Grid is a square of splines.
type Grid struct {
	X         term.JSONFloat `json:"x"` // arcsec, as all lengths
	Y         term.JSONFloat `json:"y"`
	HalfWidth term.JSONFloat `json:"half_width"`
	Nodes     int            `json:"nodes"` // along a side
}

// pixelisedOf tells of the pixelised sources of a problem at named parameters; nil where there are none.
func pixelisedOf(p *problem.Problem, theta []float64) map[string]*Pixelised {
	var out map[string]*Pixelised
	for i := range p.Config.Source {
		comp := &p.Config.Source[i]
		if comp.Type != config.TypePixels {
			continue
		}
		s := &Pixelised{Smoothness: comp.Pixels.Smoothness}
		for _, g := range comp.Pixels.Grids {
			s.Grids = append(s.Grids, Grid{term.JSONFloat(g.X), term.JSONFloat(g.Y), term.JSONFloat(g.Half), g.N})
			s.Splines += g.Len()
		}
		for k := range comp.Params {
			if q := &comp.Params[k]; !q.Vector {
				s.Hyperparameters.Names = append(s.Hyperparameters.Names, q.Name)
				s.Hyperparameters.Values = append(s.Hyperparameters.Values, theta[p.Index[comp.Key(q.Name)]])
			}
		}
		if out == nil {
			out = map[string]*Pixelised{}
		}
		out[comp.Group+"."+comp.Name] = s
	}
	return out
}

// sourceErrors are the planes of the standard deviation and of the signal to noise of pixelised sources, on the frame of the
// source of img; none where the model has no pixelised source.
func sourceErrors(p *problem.Problem, theta []float64, img *adjoint.Images, cards []fits.Key) ([]fits.Out, error) {
	m := p.Marginal()
	if m == nil {
		return nil, nil
	}
	known, err := m.Conditional(theta)
	if err != nil {
		return nil, err
	}
	all := make([]int, len(known.Sources))
	for i := range all {
		all[i] = i
	}
	s := img.Source
	sd := known.Deviation(all, s.W, s.H, s.Scale, img.SourceX, img.SourceY)
	snr := make([]float64, len(sd.Pix))
	for k, v := range sd.Pix {
		if v > 0 {
			snr[k] = s.Pix[k] / v
		}
	}
	axes := []int{s.W, s.H}
	one := slices.Clone(cards)
	for i := range one {
		if one[i].Name == "BUNIT" {
			one[i].Value = ""
		}
	}
	return []fits.Out{
		{Name: planeSourceSD, Bitpix: -64, Axes: axes, Pix: sd.Pix, Cards: cards},
		{Name: planeSourceSNR, Bitpix: -64, Axes: axes, Pix: snr, Cards: one},
	}, nil
}

// The planes of a fit.fits that pixelised sources alone have.
const (
	planeSourceSD  = "SOURCE_SD"
	planeSourceSNR = "SOURCE_SNR"
)

// errorPanels are the panels of these planes; none where there are none.
func errorPanels(planes map[string]Plane, unit string) (out []figure.Panel) {
	if s, ok := planes[planeSourceSD]; ok {
		out = append(out, panelOf("standard deviation of the source", s, s.Pix, unit, figure.WholeRange(s.Pix)))
	}
	if s, ok := planes[planeSourceSNR]; ok {
		out = append(out, panelOf("signal to noise of the source", s, s.Pix, "source / σ", figure.WholeRange(s.Pix)))
	}
	return out
}

// DrawGrids draws grids.png of the run in dir: its source, and what is known of it, below the knots of the grids of splines.
func DrawGrids(dir string) error {
	cfg, err := config.Load(filepath.Join(dir, rundir.ConfigYAML))
	if err != nil {
		return err
	}
	if !cfg.HasPixels() {
		return term.BadInput("%s: its model has no source of type %s, expected one for --grids", dir, config.TypePixels)
	}
	planes, unit, err := ReadPlanes(filepath.Join(dir, rundir.FitFITS), ImagePlanes)
	if err != nil {
		return err
	}
	source, ok := planes["SOURCE"]
	if !ok {
		return term.BadInput("%s: has no extension SOURCE, expected that of a pixelised source", filepath.Join(dir, rundir.FitFITS))
	}
	panels := append([]figure.Panel{panelOf("source", source, source.Pix, unit, figure.WholeRange(source.Pix))}, errorPanels(planes, unit)...)
	for i := range panels {
		for _, comp := range cfg.Source {
			for _, g := range comp.Pixels.Grids {
				panels[i].Mesh = append(panels[i].Mesh, knots(g)...)
			}
		}
	}
	return figure.Draw(filepath.Join(dir, rundir.GridsPNG), panels, 3)
}

// knots are the lines between which the splines of a grid are one polynomial.
func knots(g physics.SplineGrid) (lines [][]lensing.Point) {
	for k := range g.N + 1 {
		d := -g.Half + math.Min(float64(k)*g.Step(), 2*g.Half)
		lines = append(lines,
			[]lensing.Point{{X: g.X + d, Y: g.Y - g.Half}, {X: g.X + d, Y: g.Y + g.Half}},
			[]lensing.Point{{X: g.X - g.Half, Y: g.Y + d}, {X: g.X + g.Half, Y: g.Y + d}})
	}
	return lines
}
