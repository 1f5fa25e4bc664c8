package problem

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	"lenskit/internal/check"
	"lenskit/physics"
	"lenskit/tools/config"
	"lenskit/tools/internal/fits"
	"lenskit/tools/observation"
)

func TestBareConfigReadsBackTheSame(t *testing.T) {
	dir := t.TempDir()
	image := filepath.Join(dir, "a.fits")
	if err := fits.Write(image, fits.Out{Axes: []int{8, 8}, Pix: make([]float64, 64)}); err != nil {
		t.Fatal(err)
	}
	c, err := Bare(BareOptions{Image: image, Noise: "0.1", PixelScale: 0.05, Neighbours: true})
	if err != nil {
		t.Fatal(err)
	}
	observation.ScalePriors(c, 2)
	want := c.Text(dir)
	path := filepath.Join(dir, "c.yaml")
	if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
	again, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := again.Text(dir); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// The mass of a bare image's lens is looked for where its light is.
func TestBareLensFollowsItsLight(t *testing.T) {
	const n = 81
	o := &observation.Observation{W: n, H: n, Scale: 0.08, Sigma: []float64{0.01}, Data: make([]float64, n*n), Mask: make([]bool, n*n)}
	light, err := physics.NewLight("sersic")
	if err != nil {
		t.Fatal(err)
	}
	if err := light.Set([]float64{0.5, 1.2, 3, 0.2, -0.1, 0.05, -0.03}); err != nil {
		t.Fatal(err)
	}
	x, y := make([]float64, n*n), make([]float64, n*n)
	for k := range x {
		x[k], y[k] = o.Place(k%n, k/n)
		r := math.Hypot(x[k], y[k])
		o.Mask[k] = r > 0.2 && r < 3.2
	}
	light.Brightness(o.Data, x, y)
	if err := o.Weigh(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	image := filepath.Join(dir, "a.fits")
	if err := fits.Write(image, fits.Out{Axes: []int{n, n}, Pix: o.Data}); err != nil {
		t.Fatal(err)
	}
	c, err := Bare(BareOptions{Image: image, Noise: "0.01", PixelScale: 0.08})
	if err != nil {
		t.Fatal(err)
	}
	if err := followLight(c, o); err != nil {
		t.Fatal(err)
	}
	want := map[string]float64{"center_x": 0.05, "center_y": -0.03, "e1": 0.2, "e2": -0.1}
	for _, p := range c.Lens[0].Params {
		if v, ok := want[p.Name]; ok {
			check.Close(t, p.Name, p.Prior.A, v, 0.02, 1)
		}
	}
}
