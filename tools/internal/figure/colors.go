package figure

import (
	"image/color"
	"math"

	"gonum.org/v1/plot/palette/moreland"
)

// ColorMap turns a number in [0, 1] into a colour of equal perceptual steps.
type ColorMap func(t float64) color.RGBA

// NoData is the colour of a pixel without a value.
var NoData = color.RGBA{R: 0x9a, G: 0x9a, B: 0x9a, A: 0xff}

// infernoKnots are 33 equally spaced colours of inferno, a colour map with equal steps in CIECAM02 lightness by
// N. Smith and S. van der Walt (2015), in the public domain (CC0).
var infernoKnots = [...]uint32{
	0x000004, 0x040312, 0x0b0724, 0x150b37, 0x210c4a, 0x2f0a5b, 0x3d0965, 0x4a0c6b, 0x57106e, 0x64156e, 0x71196e,
	0x7d1e6d, 0x8a226a, 0x972766, 0xa32c61, 0xb0315b, 0xbc3754, 0xc73e4c, 0xd24644, 0xdb503b, 0xe45a31, 0xeb6628,
	0xf1731d, 0xf68013, 0xf98e09, 0xfb9d07, 0xfcac11, 0xfbbc21, 0xf9cb35, 0xf5db4c, 0xf2ea69, 0xf3f68a, 0xfcffa4,
}

// Inferno is for brightness: from black through red to pale yellow.
func Inferno(t float64) color.RGBA {
	if math.IsNaN(t) {
		return NoData
	}
	t = clamp01(t) * float64(len(infernoKnots)-1)
	i := min(int(t), len(infernoKnots)-2)
	f := t - float64(i)
	a, b := infernoKnots[i], infernoKnots[i+1]
	mix := func(shift uint) uint8 {
		return uint8(math.Round((1-f)*float64(a>>shift&0xff) + f*float64(b>>shift&0xff)))
	}
	return color.RGBA{R: mix(16), G: mix(8), B: mix(0), A: 0xff}
}

// BlueRed is for signed quantities: blue below, white at 1/2, red above (Moreland 2009).
func BlueRed() ColorMap {
	m := moreland.SmoothBlueRed()
	m.SetMin(0)
	m.SetMax(1)
	var table [1025]color.RGBA
	for i := range table {
		c, err := m.At(float64(i) / float64(len(table)-1))
		if err != nil {
			c = NoData
		}
		table[i] = color.RGBAModel.Convert(c).(color.RGBA)
	}
	return func(t float64) color.RGBA {
		if math.IsNaN(t) {
			return NoData
		}
		return table[int(math.Round(clamp01(t)*float64(len(table)-1)))]
	}
}

// clamp01 is t between 0 and 1; what is no number is 0.
func clamp01(t float64) float64 {
	if !(t > 0) {
		return 0
	}
	return math.Min(t, 1)
}
