package galaxies

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lenskit/internal/check"
	"lenskit/tools/internal/fits"
	"lenskit/tools/internal/testkit"
)

func TestShrinkKeepsTheMean(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	for _, side := range []int{64, 65, 100, 128, 201} {
		p, sum := make([]float64, side*side), 0.0
		for i := range p {
			p[i] = rng.Float64()
			sum += p[i]
		}
		got := 0.0
		for _, v := range Shrink(p, side, 64) {
			got += v
		}
		check.Close(t, fmt.Sprintf("mean of %d pixels on a side", side), got/4096, sum/float64(side*side), 1e-12, 0)
	}
}

func TestPreparedImagesHavePeakOneAndNoBackground(t *testing.T) {
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(3, 3))
	const w, h = 80, 72
	var pix []float64
	var table strings.Builder
	table.WriteString("index,id,peak_snr\n")
	for k := range 20 {
		amp := 50.0
		if k == 7 {
			amp = 0.5 // lost in the noise
		}
		for j := range h {
			for i := range w {
				x, y := float64(i)-(w-1)/2., float64(j)-(h-1)/2.
				pix = append(pix, 10+amp*math.Exp(-(x*x+y*y)/50)+rng.NormFloat64())
			}
		}
		fmt.Fprintf(&table, "%d,galaxy-%d,%g\n", k, k/2, amp)
	}
	cubePath, csvPath := filepath.Join(dir, "cube.fits"), filepath.Join(dir, "cube.csv")
	if err := fits.Write(cubePath, fits.Out{Axes: []int{w, h, 20}, Pix: pix}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(csvPath, []byte(table.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	out, held := filepath.Join(dir, "train.fits"), filepath.Join(dir, "held.fits")
	testkit.MustRun(t, "dataset", "prepare", cubePath, "--catalog", csvPath, "--hold", "0.2", "--held", held, "-o", out)
	ids := func(path string) map[string]int {
		data, err := os.ReadFile(strings.TrimSuffix(path, ".fits") + ".csv")
		if err != nil {
			t.Fatal(err)
		}
		m := map[string]int{}
		for i, line := range strings.Split(strings.TrimSpace(string(data)), "\n") {
			if i > 0 {
				m[strings.Split(line, ",")[1]]++
			}
		}
		return m
	}
	a, b := ids(out), ids(held)
	total := 0
	for id, n := range a {
		if b[id] > 0 {
			t.Errorf("%s is in both sets", id)
		}
		total += n
	}
	for _, n := range b {
		total += n
	}
	if len(b) != 2 || total != 19 {
		t.Errorf("%d galaxies are held back and %d images kept, want 2 and 19", len(b), total)
	}
	c, _, err := ReadCube(out)
	if err != nil {
		t.Fatal(err)
	}
	for i := range c.N {
		peak, border := float32(0), 0.0
		for k, v := range c.Plane(i) {
			peak = max(peak, v)
			if x, y := k%64, k/64; x < 4 || y < 4 || x >= 60 || y >= 60 {
				border = math.Max(border, math.Abs(float64(v)))
			}
		}
		if peak != 1 || border > 0.06 {
			t.Errorf("image %d: peak %g, border up to %g", i, peak, border)
		}
	}
	// a folder of files gives the same images
	folder := filepath.Join(dir, "folder")
	os.Mkdir(folder, 0o755)
	for k := range 3 {
		if err := fits.Write(filepath.Join(folder, fmt.Sprintf("g%d.fits", k)), fits.Out{Axes: []int{w, h}, Pix: pix[k*w*h : (k+1)*w*h]}); err != nil {
			t.Fatal(err)
		}
	}
	single := filepath.Join(dir, "single.fits")
	testkit.MustRun(t, "dataset", "prepare", folder, "-o", single)
	if n := ids(single); n["g1.fits"] != 1 || len(n) != 3 {
		t.Errorf("got %v", n)
	}
}
