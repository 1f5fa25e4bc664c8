package galaxies

import (
	"bytes"
	"context"
	"image/png"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gonum.org/v1/gonum/mat"
	"lenskit/tools/internal/term"
	"lenskit/tools/internal/testkit"
)

func TestDatasetIsTheSameForTheSameSeed(t *testing.T) {
	dir := t.TempDir()
	a, b, more := filepath.Join(dir, "a.fits"), filepath.Join(dir, "b.fits"), filepath.Join(dir, "c.fits")
	testkit.MustRun(t, "dataset", "synth", "-o", a, "--count", "6", "--size", "16", "--seed", "3")
	testkit.MustRun(t, "dataset", "synth", "-o", b, "--count", "6", "--size", "16", "--seed", "3")
	testkit.MustRun(t, "dataset", "synth", "-o", more, "--count", "9", "--size", "16", "--seed", "3")
	x, err := os.ReadFile(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := os.ReadFile(b)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(x, y) {
		t.Error("two files of one seed differ")
	}
	six, _, err := ReadCube(a)
	if err != nil {
		t.Fatal(err)
	}
	nine, _, err := ReadCube(more)
	if err != nil {
		t.Fatal(err)
	}
	if six.N != 6 || nine.N != 9 || six.W != 16 || six.H != 16 {
		t.Fatalf("got %d and %d images of %d x %d, want 6 and 9 of 16 x 16", six.N, nine.N, six.W, six.H)
	}
	for i, v := range six.Pix {
		if nine.Pix[i] != v {
			t.Fatal("the larger set does not begin with the smaller one")
		}
	}
	if six.Origin != "dataset synth --count 6 --size 16 --seed 3" {
		t.Errorf("got origin %q", six.Origin)
	}
	sheet := filepath.Join(dir, "sheet.png")
	testkit.MustRun(t, "dataset", "show", a, "-o", sheet)
	f, err := os.Open(sheet)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if img, err := png.Decode(f); err != nil || img.Bounds().Dx() != 6*(6*16+2) {
		t.Errorf("contact sheet: got %v, %v", img.Bounds(), err)
	}
}

// mixture is a set of images in the span of a mean and three vectors, with known variances.
func mixture(rng *rand.Rand, n int) *Cube {
	const w, h = 5, 4
	c := &Cube{N: n, W: w, H: h}
	for range n {
		z := [3]float64{4 * rng.NormFloat64(), 2 * rng.NormFloat64(), rng.NormFloat64()}
		for k := range w * h {
			c.Pix = append(c.Pix, float32(1+z[0]*math.Sin(float64(k))+z[1]*math.Cos(2*float64(k))+z[2]*math.Sin(3*float64(k))))
		}
	}
	return c
}

func TestPrincipalComponentsAreEigenvectorsOfTheCovariance(t *testing.T) {
	set := mixture(rand.New(rand.NewPCG(1, 2)), 400)
	p, err := PrincipalComponents(context.Background(), set, 3, 1, term.NewProgress(&bytes.Buffer{}, true))
	if err != nil {
		t.Fatal(err)
	}
	var rows []float64
	for i := range set.N {
		if heldBackImage(i) {
			continue
		}
		for k, v := range set.Plane(i) {
			rows = append(rows, float64(v)-p.mean[k])
		}
	}
	var svd mat.SVD
	if !svd.Factorize(mat.NewDense(380, 20, rows), mat.SVDThin) {
		t.Fatal("the singular values cannot be found")
	}
	var v mat.Dense
	svd.VTo(&v)
	for k, s := range svd.Values(nil)[:3] {
		want := s / math.Sqrt(380)
		if math.Abs(p.sigma[k]-want) > 1e-6*want {
			t.Errorf("component %d: got sigma %.9g, want %.9g", k, p.sigma[k], want)
		}
		if c := math.Abs(mat.Dot(p.vectors.ColView(k), v.ColView(k))); math.Abs(c-1) > 1e-6 {
			t.Errorf("component %d: its product with the eigenvector is %.9g, want 1", k, c)
		}
	}
	if math.Abs(p.Kept-1) > 1e-6 || p.HeldBack(set) > 1e-5 {
		t.Errorf("three components of three: kept %.9g of the variance, held-back rms %g, want 1 and 0", p.Kept, p.HeldBack(set))
	}
	if _, err := PrincipalComponents(context.Background(), set, 5, 1, term.NewProgress(&bytes.Buffer{}, true)); err == nil || term.ExitCode(err) != term.ExitBadInput {
		t.Errorf("five components of three: got %v, want an error of bad input", err)
	}
}

// TestBasisOfDependentColumnsIsOrthonormal: also where columns are multiples of each other, or zero, and it still spans them.
func TestBasisOfDependentColumnsIsOrthonormal(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for name, combine := range map[string]func(x, y float64) []float64{
		"independent": func(x, y float64) []float64 { return []float64{x, y, rng.NormFloat64(), rng.NormFloat64()} },
		"dependent":   func(x, y float64) []float64 { return []float64{x, y, 2 * x, 0} },
		"zero":        func(x, y float64) []float64 { return make([]float64, 4) },
	} {
		const rows, cols = 30, 4
		a := mat.NewDense(rows, cols, nil)
		for i := range rows {
			a.SetRow(i, combine(rng.NormFloat64(), rng.NormFloat64()))
		}
		q, err := orthonormal(a)
		if err != nil {
			t.Fatal(name, err)
		}
		var gram, on, back mat.Dense
		gram.Mul(q.T(), q)
		on.Mul(q.T(), a)
		back.Mul(q, &on)
		for i := range cols {
			for j := range cols {
				want := 0.0
				if i == j {
					want = 1
				}
				if math.Abs(gram.At(i, j)-want) > 1e-12 {
					t.Errorf("%s: columns %d and %d have the product %g", name, i, j, gram.At(i, j))
				}
			}
		}
		if !mat.EqualApprox(&back, a, 1e-12) {
			t.Errorf("%s: the basis does not span the columns", name)
		}
	}
}

// TestComponentsOfFewIndependentImages: a set in the span of three vectors has three components, asked for with a basis of more
// columns than that, and no fourth.
func TestComponentsOfFewIndependentImages(t *testing.T) {
	set := mixture(rand.New(rand.NewPCG(5, 6)), 60)
	p, err := PrincipalComponents(context.Background(), set, 3, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if math.Abs(p.Kept-1) > 1e-9 {
		t.Errorf("three components keep %.12f of the variance, want all", p.Kept)
	}
	if rms := p.HeldBack(set); rms > 1e-5 {
		t.Errorf("images held back are off by %g", rms)
	}
	clear(set.Pix)
	if _, err := PrincipalComponents(context.Background(), set, 1, 1, nil); err == nil || !strings.Contains(err.Error(), "only 0 independent components") {
		t.Errorf("dark images: got %v", err)
	}
}
