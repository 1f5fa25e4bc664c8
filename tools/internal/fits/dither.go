package fits

import (
	"fmt"
	"math"

	"lenskit/tools/internal/term"
)

// fitsDither restores floating-point pixels from integers: zero + scale * stored. With dithering a random number was added
// before rounding, of a sequence that all programs share (FITS standard 4.0, section 10.2 and appendix I).
type fitsDither struct {
	kind int // 0 for none, or 1 or 2
	seed int64
	list []float32
}

const (
	ditherNumbers = 10000
	ditherZero    = -2147483646 // stands for 0 with the second kind of dithering
)

// newDither reads ZQUANTIZ and ZDITHER0.
func newDither(h Header) (fitsDither, error) {
	var d fitsDither
	switch v := h.Text("ZQUANTIZ"); v {
	case "", "NO_DITHER", "NONE":
		return d, nil
	case "SUBTRACTIVE_DITHER_1":
		d.kind = 1
	case "SUBTRACTIVE_DITHER_2":
		d.kind = 2
	default:
		return d, fmt.Errorf("found ZQUANTIZ = %q, expected NO_DITHER, SUBTRACTIVE_DITHER_1 or SUBTRACTIVE_DITHER_2", term.Shown(v))
	}
	seed, ok, err := h.integer("ZDITHER0")
	if err != nil {
		return d, err
	}
	if !ok {
		seed = 1
	}
	if seed < 1 || seed > ditherNumbers {
		return d, fmt.Errorf("found ZDITHER0 = %d, expected 1 to %d", seed, ditherNumbers)
	}
	d.seed = seed
	// the minimal standard generator of Park & Miller (1988)
	d.list = make([]float32, ditherNumbers)
	x := uint64(1)
	for i := range d.list {
		x = 16807 * x % (1<<31 - 1)
		d.list[i] = float32(float64(x) / (1<<31 - 1))
	}
	return d, nil
}

// restore writes the values of the tile with number n, counted from 0; NaN for blanks. Values are rounded to single
// precision where the image has that.
func (d fitsDither) restore(pix []float64, stored []int64, n int, scale, zero float64, blank int64, hasBlank, single bool) {
	var row, next int
	start := func() { next = int(d.list[row] * 500) }
	if d.kind > 0 {
		row = int((int64(n) + d.seed - 1) % ditherNumbers)
		start()
	}
	for i, v := range stored {
		x := float64(v)
		if d.kind > 0 {
			x = x - float64(d.list[next]) + 0.5
			if next++; next == ditherNumbers {
				row = (row + 1) % ditherNumbers
				start()
			}
		}
		x = x*scale + zero
		switch {
		case hasBlank && v == blank:
			x = math.NaN()
		case d.kind == 2 && v == ditherZero:
			x = 0
		}
		if single {
			x = float64(float32(x))
		}
		pix[i] = x
	}
}
