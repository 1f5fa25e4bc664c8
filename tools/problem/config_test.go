package problem_test

import (
	"io/fs"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"lenskit/adjoint"
	"lenskit/tools/config"
	_ "lenskit/tools/coolest" // registers its format
	"lenskit/tools/internal/fits"
	"lenskit/tools/internal/testkit"
	"lenskit/tools/problem"
)

// configFiles are those of the examples and of the test data, with the template of COOLEST.
func configFiles(t *testing.T) []string {
	t.Helper()
	root, out := filepath.Join("..", ".."), []string{filepath.Join("..", "..", "testdata", "coolest", "folder", "coolest.json")}
	for _, dir := range []string{"examples", "testdata", "tools"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, _ fs.DirEntry, err error) error {
			if strings.HasSuffix(path, ".yaml") {
				out = append(out, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// TestNewLeavesTheConfigAlone: that of a file and that of a bare image are after New what they are when they are read again, while
// the problem's own is scaled to the image and follows the light.
func TestNewLeavesTheConfigAlone(t *testing.T) {
	_, o := testkit.GalaxyWithArc(t)
	image := filepath.Join(t.TempDir(), "a.fits")
	psf := []float64{0, 1, 0, 1, 4, 1, 0, 1, 0}
	if err := fits.Write(image, fits.Out{Bitpix: -64, Axes: []int{o.W, o.H}, Pix: o.Data}, fits.Out{Name: "PSF", Bitpix: -64, Axes: []int{3, 3}, Pix: psf}, fits.Out{Name: "NOISE", Bitpix: -64, Axes: []int{o.W, o.H}, Pix: o.Sigmas()}); err != nil {
		t.Fatal(err)
	}
	cases := map[string]func() (*config.Config, error){
		"bare": func() (*config.Config, error) {
			return problem.Bare(problem.BareOptions{Image: image + "[0]", PixelScale: o.Scale, Neighbours: true})
		},
		"subtracted": func() (*config.Config, error) {
			return problem.Bare(problem.BareOptions{Image: image + "[0]", PixelScale: o.Scale, Subtracted: true})
		},
	}
	for _, path := range configFiles(t) {
		cases[path] = func() (*config.Config, error) {
			c, err := config.Load(path)
			if err != nil || !strings.Contains(c.Data.Image, "shared") {
				return c, err
			}
			// what the example names is not in the repository: an image of the same kinds of file stands in for it
			image, err := filepath.Abs(image)
			d := &c.Data
			d.Image, d.PixelScale = image+"[0]", o.Scale
			if d.Noise.Sigma.File != "" {
				d.Noise.Sigma.File = image + "[NOISE]"
			}
			if d.PSFFile != "" {
				d.PSFFile = image + "[PSF]"
			}
			return c, err
		}
	}
	changed := 0
	for name, load := range cases {
		c, err := load()
		if err != nil {
			t.Fatal(name, err)
		}
		want, err := load()
		if err != nil {
			t.Fatal(name, err)
		}
		p, err := problem.New(c, adjoint.Options{Threads: 1, Device: "reference"})
		if err != nil {
			t.Fatal(name, err)
		}
		p.Close()
		if !reflect.DeepEqual(c, want) {
			t.Errorf("%s: the config is changed", name)
		}
		if !reflect.DeepEqual(p.Config, want) {
			changed++
		}
		// nor is it by what is done to the problem's
		theta, err := p.Start("", nil)
		if err != nil {
			t.Fatal(name, err)
		}
		p.SetTruth(theta)
		for _, comp := range p.Config.Components() {
			for k := range comp.Params {
				for i := range comp.Params[k].Prior.Values {
					comp.Params[k].Prior.Values[i]++
				}
			}
		}
		if !reflect.DeepEqual(c, want) {
			t.Errorf("%s: the problem's config shares what is changed", name)
		}
	}
	if changed < len(cases)/2 {
		t.Errorf("%d of %d configs are other than their problem's: the test shows nothing", changed, len(cases))
	}
}
