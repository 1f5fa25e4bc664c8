package sample

import (
	"image/color"
	"math"
	"os"
	"path/filepath"
	"testing"

	"lenskit/tools/internal/figure"
	"lenskit/tools/internal/term"
)

func TestColoursAndDensitiesOfNoNumber(t *testing.T) {
	nan := math.NaN()
	for _, c := range []figure.ColorMap{figure.Inferno, figure.BlueRed()} {
		for _, v := range []float64{nan, math.Inf(1), math.Inf(-1), 1e308, -1e308} {
			if got := c(v); math.IsNaN(v) != (got == figure.NoData) || got == (color.RGBA{}) {
				t.Errorf("%g: got colour %v", v, got)
			}
		}
	}
	for _, v := range [][]float64{{1e308, 1e308, -1e308, 3}, {nan, 1, 2, 3}, {1e308, 1e308, 1e308, 1e308}, {math.Inf(1), 1, 2, 3}} {
		if NewDensity1(v, 4) != nil || NewDensity2(v, []float64{1, 2, 3, 5}, 4) != nil {
			t.Errorf("%v: got a density", v)
		}
	}
}

func FuzzChain(f *testing.F) {
	f.Add("# method = sample\nlp__,accept_stat__,a.1,a.2\n-1,0.9,1,2\n-2,0.8,3,4\n")
	f.Add("lp__,a\n1e308,nan\n")
	f.Fuzz(func(t *testing.T, text string) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "samples.csv"), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		d, err := ReadDraws(dir, "samples.csv")
		if err != nil {
			if term.ExitCode(err) != term.ExitBadInput {
				t.Error(err)
			}
			return
		}
		for k := range d.Names {
			for _, v := range d.column(k) {
				if len(v) > 0 {
					NewDensity1(v, float64(len(v)))
				}
			}
		}
	})
}
