package eval

import (
	"fmt"
	"math"
	"slices"
)

// gridSampler is what the attributes of GridSample say.
type gridSampler struct {
	mode, padding string
	corners       bool
}

// evalGridSample interpolates x [N, C, d1 … dr] at grid [N, o1 … or, r], whose last axis counts from the last spatial
// axis to the first and runs from -1 to 1.
func evalGridSample(c *evalCall) ([]*Array, error) {
	if err := c.need(2); err != nil {
		return nil, err
	}
	if err := c.floats(0, 1); err != nil {
		return nil, err
	}
	x, grid := c.in[0], c.in[1]
	rank := len(x.Shape) - 2
	if rank < 1 || len(grid.Shape) != rank+2 || grid.Shape[0] != x.Shape[0] || grid.Shape[rank+1] != int64(rank) {
		return nil, fmt.Errorf("grid of shape %v does not fit shape %v", grid.Shape, x.Shape)
	}
	s := gridSampler{c.Str("mode", "linear"), c.Str("padding_mode", "zeros"), c.Int("align_corners", 0) != 0}
	switch s.mode {
	case "bilinear":
		s.mode = "linear"
	case "bicubic":
		s.mode = "cubic"
	case "linear", "cubic", "nearest":
	default:
		return nil, fmt.Errorf("mode: found %q, expected linear, nearest or cubic", s.mode)
	}
	if s.padding != "zeros" && s.padding != "border" && s.padding != "reflection" {
		return nil, fmt.Errorf("padding_mode: found %q, expected zeros, border or reflection", s.padding)
	}
	spatial, points := x.Shape[2:], grid.Shape[1:rank+1]
	y, err := newArray(x.Type, slices.Concat(x.Shape[:2], points))
	if err != nil || y.Len() == 0 {
		return []*Array{y}, err
	}
	size, count, ch := int(volume(spatial)), int(volume(points)), int(x.Shape[1])
	if size == 0 {
		return nil, fmt.Errorf("shape %v has nothing to sample", x.Shape)
	}
	str := strides(spatial)
	for n := range int(x.Shape[0]) {
		for p := range count {
			terms := []tap{{0, 1}}
			for ax, d := range spatial {
				v := grid.F[(n*count+p)*rank+rank-1-ax]
				var next []tap
				for _, t := range s.taps(v, d) {
					for _, u := range terms {
						next = append(next, tap{u.index + t.index*str[ax], u.weight * t.weight})
					}
				}
				terms = next
			}
			for k := range ch {
				plane := x.F[(n*ch+k)*size:]
				sum := 0.0
				for _, t := range terms {
					sum += t.weight * plane[t.index]
				}
				y.F[(n*ch+k)*count+p] = sum
			}
		}
	}
	return []*Array{y}, nil
}

// taps are the terms along one axis of extent d for a normalised position.
func (s gridSampler) taps(v float64, d int64) []tap {
	if math.IsNaN(v) {
		return []tap{{0, math.NaN()}}
	}
	last := float64(d - 1)
	x := ((v+1)*float64(d) - 1) / 2
	lo, hi := -0.5, last+0.5
	if s.corners {
		x, lo, hi = (v+1)/2*last, 0, last
	}
	if s.mode == "nearest" {
		x = math.RoundToEven(x)
	}
	if x < lo || x > hi {
		switch s.padding {
		case "border":
			x = min(max(x, 0), last)
		case "reflection":
			x = reflectFloat(x, lo, hi)
		}
	}
	var list []tap
	add := func(i, w float64) {
		switch {
		case i >= 0 && i <= last:
		case s.padding == "zeros":
			return
		case s.padding == "border":
			i = min(max(i, 0), last)
		default:
			i = min(max(math.Trunc(reflectFloat(i, lo, hi)), 0), last)
		}
		list = append(list, tap{int(i), w})
	}
	floor := math.Floor(x)
	switch s.mode {
	case "nearest":
		add(x, 1)
	case "linear":
		add(floor, 1-(x-floor))
		add(floor+1, x-floor)
	default:
		kernel := keys(-0.75)
		for k := -1.0; k <= 2; k++ {
			add(floor+k, kernel(floor+k-x))
		}
	}
	return list
}

// reflectFloat mirrors x into [lo, hi] as often as it takes.
func reflectFloat(x, lo, hi float64) float64 {
	span := hi - lo
	if span <= 0 || math.IsInf(x, 0) {
		return lo
	}
	r := math.Mod(math.Abs(x-lo), 2*span)
	return lo + min(r, 2*span-r)
}

// evalAffineGrid makes the grid that GridSample takes from theta [N, r, r+1] and size [N, C, d1 … dr], r = 2 or 3.
func evalAffineGrid(c *evalCall) ([]*Array, error) {
	if err := c.need(2); err != nil {
		return nil, err
	}
	if err := c.floats(0); err != nil {
		return nil, err
	}
	theta := c.in[0]
	size, err := c.ints(1)
	if err != nil {
		return nil, err
	}
	rank := len(size) - 2
	if rank < 2 || rank > 3 || !slices.Equal(theta.Shape, []int64{size[0], int64(rank), int64(rank + 1)}) {
		return nil, fmt.Errorf("theta of shape %v does not fit size %v", theta.Shape, size)
	}
	spatial := size[2:]
	out, err := newArray(theta.Type, append(append([]int64{size[0]}, spatial...), int64(rank)))
	if err != nil || out.Len() == 0 {
		return []*Array{out}, err
	}
	corners := c.Int("align_corners", 0) != 0
	at := make([]int64, rank)
	point := make([]float64, rank+1) // x, y(, z), 1
	for p := range len(out.F) / rank {
		for ax, i := range at {
			d := float64(spatial[ax])
			v := (2*float64(i)+1)/d - 1
			if corners {
				v = 2*float64(i)/(d-1) - 1
			}
			point[rank-1-ax] = v
		}
		point[rank] = 1
		n := p / int(volume(spatial))
		for k := range rank {
			for j, v := range point {
				out.F[p*rank+k] += theta.F[(n*rank+k)*(rank+1)+j] * v
			}
		}
		Advance(at, spatial)
	}
	return []*Array{out}, nil
}
