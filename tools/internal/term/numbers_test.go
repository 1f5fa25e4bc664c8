package term

import (
	"math"
	"testing"
)

func TestLargeNumbersArePrintedShort(t *testing.T) {
	for _, c := range []struct {
		v, s float64
		want string
	}{
		{1.23456, 0.012, "1.235"},
		{0.05, 0.0021, "0.0500"},
		{999999.4, 0.5, "999999.40"},
		{1234567.89, 0.021, "1234567.89"},
		{-1234567.89, 50, "-1234568"},
		{1234567.89, 300, "1.23457e+06"},
		{1.23456789e60, 50, "1.23456789e+60"},
		{1.23456789e60, 0.1, "1.23456789e+60"},
		{-7e300, 2e299, "-7e+300"},
		{4.44e7, 9.1e9, "4.44e+07"},
		{2e9, 2e9, "2e+09"},
		{3e80, 0, "3e+80"},
		{1, math.Inf(1), "1"},
		{math.Inf(1), 1, "+Inf"},
		{math.NaN(), 0.1, "NaN"},
	} {
		if got := WithDigits(c.v, c.s); got != c.want {
			t.Errorf("%g ± %g: got %s, want %s", c.v, c.s, got, c.want)
		}
	}
	for _, c := range []struct {
		v    float64
		n    int
		want string
	}{{-722291.904, 2, "-722291.90"}, {-1234567.891, 2, "-1234567.89"}, {-4.3e181, 2, "-4.3e+181"}, {1.00421, 4, "1.0042"}, {math.NaN(), 2, "NaN"}, {math.Inf(-1), 2, "-Inf"}} {
		if got := Decimals(c.v, c.n); got != c.want {
			t.Errorf("%g: got %s, want %s", c.v, got, c.want)
		}
	}
}
