package tools

import (
	"bytes"
	"context"
	"encoding/json"
	"image/png"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gonum.org/v1/gonum/mat"

	"lenskit/onnx"
)

func TestDatasetIsTheSameForTheSameSeed(t *testing.T) {
	dir := t.TempDir()
	a, b, more := filepath.Join(dir, "a.fits"), filepath.Join(dir, "b.fits"), filepath.Join(dir, "c.fits")
	mustRun(t, "dataset", "synth", "-o", a, "--count", "6", "--size", "16", "--seed", "3")
	mustRun(t, "dataset", "synth", "-o", b, "--count", "6", "--size", "16", "--seed", "3")
	mustRun(t, "dataset", "synth", "-o", more, "--count", "9", "--size", "16", "--seed", "3")
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
	six, _, err := readCube(a)
	if err != nil {
		t.Fatal(err)
	}
	nine, _, err := readCube(more)
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
	mustRun(t, "dataset", "show", a, "-o", sheet)
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
func mixture(rng *rand.Rand, n int) *cube {
	const w, h = 5, 4
	c := &cube{N: n, W: w, H: h}
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
	p, err := principalComponents(context.Background(), set, 3, 1, newProgress(&bytes.Buffer{}, true))
	if err != nil {
		t.Fatal(err)
	}
	var rows []float64
	for i := range set.N {
		if heldBackImage(i) {
			continue
		}
		for k, v := range set.plane(i) {
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
	if math.Abs(p.kept-1) > 1e-6 || p.heldBack(set) > 1e-5 {
		t.Errorf("three components of three: kept %.9g of the variance, held-back rms %g, want 1 and 0", p.kept, p.heldBack(set))
	}
	if _, err := principalComponents(context.Background(), set, 5, 1, newProgress(&bytes.Buffer{}, true)); err == nil || exitCode(err) != exitBadInput {
		t.Errorf("five components of three: got %v, want an error of bad input", err)
	}
}

func TestLinearBundleEncodesAndDecodes(t *testing.T) {
	if _, _, err := onnx.Library(); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	data, model := filepath.Join(dir, "d.fits"), filepath.Join(dir, "model")
	mustRun(t, "dataset", "synth", "-o", data, "--count", "120", "--size", "16", "--quiet")
	mustRun(t, "dataset", "bundle", data, "-o", model, "--latents", "24", "--quiet")
	b, err := loadBundle(model)
	if err != nil {
		t.Fatal(err)
	}
	if b.Latents != 24 || b.Encoder == nil {
		t.Errorf("got %d latents, encoder %v, want 24 and one", b.Latents, b.Encoder != nil)
	}
	var got struct {
		Images int
		RMS    map[string]float64
	}
	out := mustRun(t, "dataset", "check", data, "--model", model, "--json", "-o", filepath.Join(dir, "sheet.png"))
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	if got.Images != 120 || !(got.RMS["mean"] > 0.001 && got.RMS["mean"] < 0.05) {
		t.Errorf("got %+v, want 120 images and a mean rms between 0.001 and 0.05", got)
	}
	card, err := os.ReadFile(filepath.Join(model, "card.md"))
	if err != nil || !strings.Contains(string(card), "lenskit dataset synth --count 120 --size 16 --seed 1 -o d.fits") {
		t.Errorf("card.md lacks the command that drew the images: %v\n%s", err, card)
	}
}

func TestDatasetCommandsRefuseBadInput(t *testing.T) {
	dir := t.TempDir()
	flat := filepath.Join(dir, "flat.fits")
	if err := writeFITS(flat, fitsOut{Axes: []int{4, 4, 3}, Pix: make([]float64, 48)}); err != nil {
		t.Fatal(err)
	}
	text := filepath.Join(dir, "text.fits")
	if err := os.WriteFile(text, []byte("no FITS"), 0o644); err != nil {
		t.Fatal(err)
	}
	line := filepath.Join(dir, "line.fits")
	if err := writeFITS(line, fitsOut{Axes: []int{4}, Pix: make([]float64, 4)}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"synth", "-o", filepath.Join(dir, "x.fits"), "--count", "0"}, "--count is 0, expected 1 to"},
		{[]string{"synth", "-o", filepath.Join(dir, "x.fits"), "--size", "8"}, "--size is 8, expected 16 to 512"},
		{[]string{"synth"}, "-o is missing, expected the FILE to write"},
		{[]string{"show", text, "-o", filepath.Join(dir, "x.png")}, "text.fits"},
		{[]string{"show", line, "-o", filepath.Join(dir, "x.png")}, "expected a cube of images"},
		{[]string{"bundle", flat, "-o", filepath.Join(dir, "m"), "--latents", "99"}, "--latents is 99, expected 1 to 3"},
		{[]string{"bundle", flat, "-o", filepath.Join(dir, "m"), "--latents", "2"}, "only 0 independent components"},
		{[]string{"check", flat, "--model", filepath.Join(dir, "none")}, "none"},
	} {
		code, _, err := runCommand(t, append([]string{"dataset"}, c.args...)...)
		if code != exitBadInput || !strings.Contains(err, c.want) {
			t.Errorf("dataset %s: exit %d, %q, want exit 2 and %q", strings.Join(c.args, " "), code, err, c.want)
		}
	}
	for _, left := range []string{"x.fits", "x.png", "m/decoder.onnx"} {
		if _, err := os.Stat(filepath.Join(dir, left)); err == nil {
			t.Errorf("%s was written in spite of an error", left)
		}
	}
}
