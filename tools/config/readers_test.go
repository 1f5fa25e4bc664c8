package config

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"gonum.org/v1/gonum/mat"
	"lenskit/tools/internal/termtest"
)

func TestConfigsThatNestOrGoOnAreRefusedAtOnce(t *testing.T) {
	many := func(format string, n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	var steps strings.Builder
	for i := range 700 {
		steps.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	for what, text := range map[string]string{
		"brackets":                        "lens: " + strings.Repeat("[", 200_000),
		"brackets behind a comment":       "# " + strings.Repeat("]", 100_000) + "\nlens: " + strings.Repeat("[", 100_000),
		"brackets behind a string":        "a: '" + strings.Repeat("]", 100_000) + "'\nlens: " + strings.Repeat("[", 100_000),
		"brackets in what looks a string": "a: b '\n" + strings.Repeat("[", 100_000),
		"closed in comments":              strings.Repeat("[ # ]\n", 30_000),
		"braces":                          strings.Repeat("{a: ", 60_000),
		"dashes":                          strings.Repeat("- ", 100_000),
		"question marks":                  strings.Repeat("? ", 100_000),
		"steps":                           steps.String(),
		"keys":                            many("k%d: 1\n", 20_000),
		"200,000 keys":                    many("k%d: 1\n", 200_000),
		"items":                           "lens: {" + strings.Repeat("a,", 100_000),
		"empty lines":                     "lens: |\n " + strings.Repeat("\n", 200_000),
		"laughs":                          "a: &a [x]\n" + many("b: &b [*a, *a, *a]\n", 10_000),
	} {
		before, start := termtest.Allocated(), time.Now()
		_, err := Parse("c.yaml", []byte(text))
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("%s: %v", what, d)
		}
		if more := termtest.Allocated() - before; more > 256<<20 {
			t.Errorf("%s: %d MB reserved", what, more>>20)
		}
		termtest.Refused(t, what, err, "c.yaml")
	}
	// what a large model needs is read
	big := "lens:\n" + many("  - {type: sis, name: l%d, priors: {theta_E: {normal: [1, 0.5], bounds: [0.1, 5]}}} # [one], {of} many\n", 1000)
	if _, err := Parse("c.yaml", []byte(big)); err != nil {
		t.Error(err)
	}
}

// FuzzPrior, FuzzPoints, FuzzChain and FuzzPickle hold readers to: no panic, no memory beyond some times the text.

func FuzzPrior(f *testing.F) {
	f.Add([]byte(`{"mean": [0, 1], "covariance": [[1, 0], [0, 1]], "x": [{}]}`))
	f.Add([]byte(`{"mean": [0, 1e308], "covariance": [[1]]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		b := &Bundle{Latents: 2, Mean: make([]float64, 2), Cov: mat.NewSymDense(2, nil)}
		if b.ParsePrior(bytes.NewReader(text)) == nil && !(math.Abs(b.Mean[0]) <= maxLatentMean && math.Abs(b.Cov.At(1, 1)) <= maxLatentVariance) {
			t.Errorf("took %v %v", b.Mean, b.Cov)
		}
	})
}
