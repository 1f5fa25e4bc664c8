package termtest

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"strings"
	"testing"

	"lenskit/onnx"
	"lenskit/onnx/ort"
	"lenskit/tools/internal/term"
)

// The acceptance runs take minutes and print the tables of docs/accuracy.md:
//
//	LENSKIT_ACCEPTANCE=1 go test ./tools/... -run Acceptance -v -timeout 60m
//
// LENSKIT_BUNDLE names another decoder bundle than the shipped one.
func Acceptance(t *testing.T) {
	if os.Getenv("LENSKIT_ACCEPTANCE") == "" {
		t.Skip("takes minutes: set LENSKIT_ACCEPTANCE=1 to run it")
	}
}

// Einstein is θ_E = √q r_ein of a power law in the paper's parameters.
func Einstein(q, r float64) float64 { return math.Sqrt(q) * r }

const GoodConfig = `
data:
  image: mock.fits
  noise: 0.0333
  psf: {gaussian: 0.05}
  pixel_scale: 0.0390625
  mask: {annulus: [0.5, 3.0], center: [0.1, -0.2]}
lens:
  - type: sple
    priors:
      r_ein: {normal: [1.5, 0.5], bounds: [0.1, 5]}
      q:     {truth: 0.8}
      gamma: {fixed: 2.0}
  - type: shear
source:
  - type: decoder
    model: models/cosmos
    interpolation: bicubic
    priors: {z: {bundle: {scale: 4}, truth: [0.5, -1e-3]}, s: {lognormal: [1, 0.2], init: 3}}
  - {type: sersic, name: disc}
sky: {uniform: [-1, 1]}
`

const PlanesConfig = `
lens:
  - {type: sis, name: far, redshift: 0.9, priors: {theta_E: {truth: 0.5}, center_x: {truth: 1}}}
  - {type: sis, redshift: 0.5, priors: {theta_E: {truth: 1}}}
source:
  - {type: sersic, redshift: 2.25}
  - {type: sersic, name: between, redshift: 0.8}
cosmology: {H0: 67.5, Omega_m: 0.3, Omega_lambda: 0.65}
`

// Allocated is the number of bytes that the process has reserved so far, given back or not.
func Allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// Refused fails the test unless err is bad input, of one short line, with the words.
func Refused(t *testing.T, what string, err error, words ...string) {
	t.Helper()
	if err == nil || term.ExitCode(term.AsBadInput(err)) != term.ExitBadInput || len(err.Error()) > term.LongestLine {
		t.Errorf("%s: got %.300v, want one line of bad input", what, err)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%s: got %q, want it to hold %q", what, err, w)
		}
	}
}

// WriteText writes a small file and returns its path.
func WriteText(t *testing.T, path, format string, args ...any) string {
	t.Helper()
	if err := os.WriteFile(path, fmt.Appendf(nil, format, args...), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// Ellipticity is (e1, e2) of an axis ratio and an angle.
func Ellipticity(q, phi float64) (e1, e2 float64) {
	f := (1 - q) / (1 + q)
	return f * math.Cos(2*phi), f * math.Sin(2*phi)
}

// DrawLines are the draws of a Stan CSV as they stand there.
func DrawLines(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// NeedRuntime skips a test where onnxruntime is missing.
func NeedRuntime(t testing.TB) {
	t.Helper()
	if _, _, err := ort.Library(); err != nil {
		t.Skip(err)
	}
}

// ChildOptions is the environment variable by which a test hands a training to a process of its own.
const ChildOptions = "LENSKIT_TEST_TRAINING"

// Relative is the largest difference of two arrays relative to the largest element of the second.
func Relative(got func(i int) float64, want *onnx.Tensor) float64 {
	worst, size := 0.0, 0.0
	for i := range want.Size() {
		worst = math.Max(worst, math.Abs(got(i)-want.Float(i)))
		size = math.Max(size, math.Abs(want.Float(i)))
	}
	return worst / size
}
