package sample

import (
	"context"
	"errors"
	"fmt"
	"image/color"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"gonum.org/v1/gonum/stat/distuv"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"lenskit/adjoint"
	"lenskit/samplers"
	"lenskit/tools/config"
	"lenskit/tools/internal/figure"
	"lenskit/tools/internal/termtest"
	"lenskit/tools/mock"
	"lenskit/tools/problem"
	"lenskit/tools/search"
)

// Simulation-based calibration (Talts et al. 2018): draws kept of each mock's chain, one in ten of which is ranked, so
// that those are nearly independent.
const (
	sbcDraws = 990
	sbcThin  = 10
	sbcBins  = 20
)

// TestAcceptanceCalibration draws lenses from the priors of testdata/sbc, simulates an image of each, samples its
// posterior by the default sampler and ranks the truth among the draws: over many mocks the ranks are uniform if, and
// all but only if, likelihood, priors, Jacobians, gradients and sampler are right together. The climb to the maximum starts at the
// truth, because the calibration is of the posterior, not of the search.
//
//	LENSKIT_ACCEPTANCE=1 go test ./tools/sample -run AcceptanceCalibration -v -timeout 60m
//
// LENSKIT_SBC_MOCKS sets the number of mocks, LENSKIT_SBC_FIGURE names a PNG to write.
func TestAcceptanceCalibration(t *testing.T) {
	termtest.Acceptance(t)
	mocks := 400
	if n, err := strconv.Atoi(os.Getenv("LENSKIT_SBC_MOCKS")); err == nil {
		mocks = n
	}
	config, err := filepath.Abs("testdata/sbc/config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	ends := make([]*calibrated, mocks)
	jobs := make(chan int, mocks)
	for i := range mocks {
		jobs <- i
	}
	close(jobs)
	var wg sync.WaitGroup
	errs := make([]error, runtime.GOMAXPROCS(0))
	for w := range errs {
		wg.Go(func() {
			for i := range jobs {
				if errs[w] != nil {
					return
				}
				if ends[i], errs[w] = calibrate(config, uint64(i)); errs[w] != nil {
					errs[w] = fmt.Errorf("mock %d: %w", i, errs[w])
				} else if i%20 == 19 {
					fmt.Fprintf(os.Stderr, "mock %d of %d\n", i+1, mocks)
				}
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	divergences := 0
	for _, e := range ends {
		divergences += e.divergences
	}
	fmt.Printf("%d mocks, %d draws each, %d divergences\n| parameter | χ² of ranks (%d bins) | p | within 68 %% | within 95 %% |\n|---|---|---|---|---|\n", mocks, sbcDraws, divergences, sbcBins)
	names := ends[0].names
	counts := make([][]float64, len(names))
	for k, name := range names {
		counts[k] = make([]float64, sbcBins)
		in68, in95 := 0.0, 0.0
		for _, e := range ends {
			counts[k][int(e.rank[k]*sbcBins)]++
			if off := math.Abs(e.share[k] - 0.5); off < 0.34 {
				in68++
			}
			if off := math.Abs(e.share[k] - 0.5); off < 0.475 {
				in95++
			}
		}
		chi2, mean := 0.0, float64(mocks)/sbcBins
		for _, c := range counts[k] {
			chi2 += (c - mean) * (c - mean) / mean
		}
		p := 1 - distuv.ChiSquared{K: sbcBins - 1}.CDF(chi2)
		in68, in95 = in68/float64(mocks), in95/float64(mocks)
		fmt.Printf("| %s | %.1f | %.3f | %.1f %% | %.1f %% |\n", name, chi2, p, 100*in68, 100*in95)
		if p < 0.01 && strings.HasPrefix(name, "lens.") {
			t.Errorf("%s: ranks are not uniform: χ² = %.1f over %d bins, p = %.2g", name, chi2, sbcBins, p)
		}
		for _, c := range []struct{ got, want float64 }{{in68, 0.68}, {in95, 0.95}} {
			// three binomial errors: one name of 400 is outside by chance
			if e := math.Sqrt(c.want * (1 - c.want) / float64(mocks)); math.Abs(c.got-c.want) > 3*e {
				t.Errorf("%s: %.1f %% of the truths lie in the %.0f %% interval, expected ± %.1f", name, 100*c.got, 100*c.want, 300*e)
			}
		}
	}
	if path := os.Getenv("LENSKIT_SBC_FIGURE"); path != "" {
		if err := drawCalibration(path, names, counts, mocks); err != nil {
			t.Fatal(err)
		}
	}
}

// calibrated is where the truth of a mock lies among its draws.
type calibrated struct {
	names       []string
	rank        []float64 // share of the thinned draws below the truth, in [0, 1)
	share       []float64 // of all draws
	divergences int
}

// calibrate simulates and samples mock seed.
func calibrate(configPath string, seed uint64) (*calibrated, error) {
	ctx := context.Background()
	cfg, err := config.Load(configPath)
	if err != nil {
		return nil, err
	}
	p, err := problem.New(cfg, adjoint.Options{Threads: 1})
	if err != nil {
		return nil, err
	}
	rng := rand.New(rand.NewPCG(seed, mock.Stream))
	drawn, err := mock.Draw(p, mock.Options{Draw: true}, nil, rng)
	if err != nil {
		p.Close()
		return nil, err
	}
	truth := drawn.Theta
	data := slices.Clone(drawn.Images.Model.Pix)
	for i, sigma := range p.Obs.Sigmas() {
		data[i] += sigma * rng.NormFloat64()
	}
	p.Close()
	if p.Obs, err = p.Obs.With(data, p.Obs.Sigma); err != nil {
		return nil, err
	}
	model, err := problem.Model(p.Config, p.Bundles)
	if err != nil {
		return nil, err
	}
	if p.Post, err = adjoint.New(model, problem.DataOf(p.Obs), adjoint.Options{Threads: 1}); err != nil {
		return nil, err
	}
	defer p.Close()
	u := make([]float64, p.Post.Dim())
	if err := p.Post.U(u, truth); err != nil {
		return nil, err
	}
	s := &search.Search{Problem: p, Options: search.Options{}.Defaults(), Settings: search.DefaultSettings(), Compute: adjoint.Options{Threads: 1}, Tell: func(search.State) {}, Saved: &search.Record{Done: map[string]*search.StageEnd{}}}
	s.Save = func() error { return nil }
	top, err := s.Settle(ctx, u)
	if err != nil {
		return nil, err
	}
	theta := make([]float64, len(truth))
	p.Post.Theta(theta, top.U)
	opt := (Settings{Seed: seed + 1, Warmup: 50, Draws: sbcDraws, Chains: 1}).Defaults()
	g, err := chooseCoordinates(p, ctx, forgetful(ctx), theta, opt.stream(3))
	if err != nil {
		return nil, err
	}
	target := g.coords.target(p.Post)
	chains, err := samplers.NewChains(1, func(int) (samplers.Target, error) { return target, nil }, samplers.StartNear(g.normal, g.spread), g.normal.Metric, opt.chain(), opt.Seed)
	if err != nil {
		return nil, err
	}
	var trace samplers.Trace
	if err := samplers.Sample(ctx, chains, &trace); err != nil {
		return nil, err
	}
	c := &calibrated{divergences: chains[0].Counts().Divergences}
	draws := trace.Chains()[0].X
	for k, name := range p.Post.Names() {
		if p.Post.Free()[k] >= 0 {
			c.names = append(c.names, name)
		}
	}
	c.rank, c.share = make([]float64, len(c.names)), make([]float64, len(c.names))
	for i, v := range draws {
		target.push(target.u, v)
		p.Post.Theta(theta, target.u)
		n := 0
		for k := range theta {
			if p.Post.Free()[k] < 0 {
				continue
			}
			if theta[k] < truth[k] {
				c.share[n] += 1 / float64(len(draws))
				if i%sbcThin == sbcThin-1 {
					c.rank[n] += 1 / float64(len(draws)/sbcThin+1)
				}
			}
			n++
		}
	}
	return c, nil
}

// drawCalibration draws the histograms of ranks, with the band in which 99 % of the bars of uniform ranks lie.
func drawCalibration(path string, names []string, counts [][]float64, mocks int) error {
	const columns, width, height = 5, 5 * vg.Centimeter, 3.6 * vg.Centimeter
	rows := (len(names) + columns - 1) / columns
	sheet := figure.NewPage(columns*width, vg.Length(rows)*height, 110)
	mean := float64(mocks) / sbcBins
	normal := distuv.Poisson{Lambda: mean}
	low, high := 0.0, mean
	for normal.CDF(low) < 0.005 {
		low++
	}
	for normal.CDF(high) < 0.995 {
		high++
	}
	for k, name := range names {
		q := plot.New()
		q.Title.Text = name
		q.Title.TextStyle.Font = figure.Font(9)
		q.X.Label.Text = "rank of the truth"
		q.X.Label.TextStyle.Font, q.X.Tick.Label.Font, q.Y.Tick.Label.Font = figure.Font(8), figure.Font(7), figure.Font(7)
		band, err := plotter.NewPolygon(plotter.XYs{{X: 0, Y: low}, {X: 1, Y: low}, {X: 1, Y: high}, {X: 0, Y: high}})
		if err != nil {
			return err
		}
		band.Color, band.LineStyle.Width = color.Gray{Y: 0xdd}, 0
		steps := make(plotter.XYs, 0, 2*sbcBins+2)
		steps = append(steps, plotter.XY{})
		for b, c := range counts[k] {
			steps = append(steps, plotter.XY{X: float64(b) / sbcBins, Y: c}, plotter.XY{X: float64(b+1) / sbcBins, Y: c})
		}
		line, err := plotter.NewLine(append(steps, plotter.XY{X: 1}))
		if err != nil {
			return err
		}
		line.Color, line.Width = color.RGBA{R: 0x1f, G: 0x4e, B: 0x96, A: 0xff}, vg.Points(1)
		q.Add(band, line)
		q.Y.Min, q.Y.Max = 0, 2.2*mean
		x, y := vg.Length(k%columns)*width, vg.Length(rows-1-k/columns)*height
		cell := sheet.Part(x, y, width, height)
		q.Draw(draw.Crop(cell, 2*vg.Millimeter, -2*vg.Millimeter, 1*vg.Millimeter, -2*vg.Millimeter))
	}
	return sheet.Save(path)
}
