package observation

import (
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"gonum.org/v1/gonum/stat"
	"lenskit/internal/check"
	"lenskit/physics"
	"lenskit/tools/config"
)

func TestRegionsCombine(t *testing.T) {
	o := &Observation{W: 9, H: 7, Scale: 1}
	in := func(text string, x, y float64) bool {
		c, err := config.Parse("c.yaml", []byte("data: {mask: "+text+"}\nlens: [{type: sis}]"))
		if err != nil {
			t.Fatal(err)
		}
		m, err := o.region(c, &c.Data.Mask)
		if err != nil {
			t.Fatal(err)
		}
		return m[(int(y)+3)*o.W+int(x)+4]
	}
	for _, row := range []struct {
		text string
		x, y float64
		want bool
	}{
		{"{circle: 2}", 2, 0, true}, {"{circle: 2}", 2, 1, false},
		{"{annulus: [1, 2]}", 0, 0, false}, {"{annulus: [1, 2]}", 0, -1, true},
		{"{box: [3, 5], center: [2, 0]}", 3, 2, true}, {"{box: [3, 5], center: [2, 0]}", 0, 0, false},
		{"[{circle: 3}, {not: {circle: 1, center: [2, 0]}}]", 2, 0, false},
		{"[{circle: 3}, {not: {circle: 1, center: [2, 0]}}]", -2, 0, true},
		{"[{circle: 3}, {not: {circle: 1, center: [2, 0]}}]", -4, 0, false},
		{"{any: [{circle: 1, center: [-3, 0]}, {circle: 1, center: [3, 0]}]}", 3, 0, true},
		{"{any: [{circle: 1, center: [-3, 0]}, {circle: 1, center: [3, 0]}]}", -3, 0, true},
		{"{any: [{circle: 1, center: [-3, 0]}, {circle: 1, center: [3, 0]}]}", 0, 0, false},
		{"{not: [{circle: 3}, {circle: 3, center: [2, 0]}]}", 1, 0, false},
		{"{not: [{circle: 3}, {circle: 3, center: [2, 0]}]}", -3, 0, true},
	} {
		if got := in(row.text, row.x, row.y); got != row.want {
			t.Errorf("%s at (%g, %g): got %v", row.text, row.x, row.y, got)
		}
	}
}

// lensField is a round bright galaxy and an elliptical halo, an arc around them, and noise.
func lensField(add func(x, y float64) float64) *Observation {
	o := &Observation{W: 180, H: 171, Scale: 0.05, Sigma: []float64{0.02}}
	rng := rand.New(rand.NewPCG(31, 1))
	for k := range o.W * o.H {
		x, y := o.Place(k%o.W, k/o.W)
		r, e := math.Hypot(x, y), math.Hypot(x-0.03, y/0.7)
		v := math.Exp(-r/0.3) + 0.6*math.Exp(-e/1.5)
		if a := math.Atan2(y, x); math.Abs(a) < 0.9 {
			v += 0.3 * math.Exp(-0.5*math.Pow((r-1.4)/0.1, 2))
		}
		o.Data = append(o.Data, v+add(x, y)+0.02*rng.NormFloat64())
	}
	return o
}

func TestNeighboursAreFoundAndArcsAreNot(t *testing.T) {
	blob := func(x, y, amp, size float64) func(x, y float64) float64 {
		return func(u, v float64) float64 {
			return amp * math.Exp(-0.5*((u-x)*(u-x)+(v-y)*(v-y))/(size*size))
		}
	}
	near := func(o *Observation, m []bool, x, y, r float64) (in, all int) {
		for k := range m {
			if u, v := o.Place(k%o.W, k/o.W); math.Hypot(u-x, v-y) < r {
				all++
				if m[k] {
					in++
				}
			}
		}
		return in, all
	}
	for _, row := range []struct {
		name  string
		light func(x, y float64) float64
		x, y  float64
		want  int
	}{
		{"none", func(x, y float64) float64 { return 0 }, 0, 0, 0},
		{"a star", blob(3.2, 2.1, 0.5, 0.07), 3.2, 2.1, 1},
		{"a galaxy", blob(-2.4, 2.9, 0.2, 0.2), -2.4, 2.9, 1},
		{"an image of the source", blob(-1.5, 1.2, 0.5, 0.1), -1.5, 1.2, 0},
		{"a giant arc", func(x, y float64) float64 {
			if a := math.Atan2(y, x); math.Abs(a-1.5) > 0.8 {
				return 0
			}
			return 0.3 * math.Exp(-0.5*math.Pow((math.Hypot(x, y)-3.5)/0.1, 2))
		}, 0.25, 3.49, 0},
	} {
		o := lensField(row.light)
		got, err := o.neighbours(config.NeighbourConfig{})
		if err != nil {
			t.Fatal(err)
		}
		if got.Count != row.want {
			t.Errorf("%s: found %d neighbours, want %d", row.name, got.Count, row.want)
		}
		if in, _ := near(o, got.Pixels, 0, 0, 2.4); in != 0 {
			t.Errorf("%s: %d pixels of the lens are masked", row.name, in)
		}
		if in, all := near(o, got.Pixels, row.x, row.y, 0.25); row.want > 0 && in != all {
			t.Errorf("%s: %d of its %d pixels are masked", row.name, in, all)
		}
		masked := 0
		for _, b := range got.Pixels {
			if b {
				masked++
			}
		}
		if limit := 700 * row.want; masked > limit {
			t.Errorf("%s: %d pixels are masked, want at most %d", row.name, masked, limit)
		}
	}
}

func TestCountsHaveTheNoiseThatIsStated(t *testing.T) {
	const n = 40000
	o := &Observation{W: n, H: 1, Scale: 1, Sigma: []float64{1}, Counts: &physics.PoissonNoise{Exposure: []float64{200}, Background: []float64{0.03}, Gain: 2}}
	for _, brightness := range []float64{0, 0.02, 3} {
		model := slices.Repeat([]float64{brightness}, n)
		for _, row := range []struct{ scale, nu float64 }{{1, 0}, {1.5, 0}, {1, 8}} {
			data, sigma := o.Simulate(model, true, row.scale, row.nu, rand.New(rand.NewPCG(41, 1)))
			background := 0.03 * 0.03
			if row.nu > 0 {
				background *= row.nu / (row.nu - 2)
			}
			want := row.scale * math.Sqrt(background+brightness/400)
			mean, sd := stat.MeanStdDev(data, nil)
			check.Close(t, "standard deviation", sd, want, 0.02, 0)
			check.Close(t, "mean", mean, brightness, 5*want/math.Sqrt(n), 1)
			for i := range 100 {
				check.Close(t, "stated noise", sigma[i], math.Sqrt(0.0009+math.Max(data[i], 0)/400), 1e-14, 0)
			}
		}
		data, sigma := o.Simulate(model, false, 1, 0, rand.New(rand.NewPCG(41, 1)))
		if !reflect.DeepEqual(data, model) {
			t.Error("without noise, the data are not the model")
		}
		check.Close(t, "stated noise without any", sigma[0], math.Sqrt(0.0009+brightness/400), 1e-14, 0)
	}
	// a map of the exposure with a hole, and one of the background
	p := physics.PoissonNoise{Exposure: []float64{100, 0, math.NaN(), 400}, Background: []float64{1, 1, 1, 2}, Gain: 1}
	sigma := make([]float64, 4)
	p.Sigma(sigma, []float64{50, 50, 50, -3})
	check.Close(t, "map", sigma[0], math.Sqrt(1.5), 1e-14, 0)
	check.Close(t, "map", sigma[3], 2, 1e-14, 0)
	if !math.IsInf(sigma[1], 1) || !math.IsInf(sigma[2], 1) {
		t.Errorf("got %v without exposure, want infinite noise", sigma)
	}
}
