package tools

import (
	"math"
	"strings"
)

// wcsKeys are the keywords that place an image on the sky.
var wcsKeys = []string{
	"WCSAXES", "CTYPE1", "CTYPE2", "CRPIX1", "CRPIX2", "CRVAL1", "CRVAL2", "CUNIT1", "CUNIT2", "CD1_1", "CD1_2", "CD2_1", "CD2_2",
	"PC1_1", "PC1_2", "PC2_1", "PC2_2", "CDELT1", "CDELT2", "CROTA2", "RADESYS", "EQUINOX", "LONPOLE", "LATPOLE",
}

// wcs is the linear part of the sky coordinates of an image.
type wcs struct {
	cd [2][2]float64 // arcsec per pixel: world axis by pixel axis
}

// skyWCS reads the linear coordinates of a header in arcsec: CD, or PC (or CROTA2) with CDELT. It returns false where the
// header has none: no keyword, a unit that is no angle, or a singular matrix.
func skyWCS(h fitsHeader) (w wcs, ok bool) {
	get := func(key string, def float64) float64 {
		v, err := h.number(key, def)
		if err != nil {
			return math.NaN()
		}
		return v
	}
	switch {
	case h.has("CD1_1") || h.has("CD2_2") || h.has("CD1_2") || h.has("CD2_1"):
		w.cd = [2][2]float64{{get("CD1_1", 0), get("CD1_2", 0)}, {get("CD2_1", 0), get("CD2_2", 0)}}
	case h.has("CDELT1") && h.has("CDELT2"):
		d1, d2 := get("CDELT1", 1), get("CDELT2", 1)
		if h.has("PC1_1") || h.has("PC1_2") || h.has("PC2_1") || h.has("PC2_2") {
			w.cd = [2][2]float64{{d1 * get("PC1_1", 1), d1 * get("PC1_2", 0)}, {d2 * get("PC2_1", 0), d2 * get("PC2_2", 1)}}
			break
		}
		s, c := math.Sincos(get("CROTA2", 0) * math.Pi / 180)
		w.cd = [2][2]float64{{d1 * c, -d2 * s}, {d1 * s, d2 * c}}
	default:
		return w, false
	}
	for i, key := range []string{"CUNIT1", "CUNIT2"} {
		f := 0.0
		switch strings.ToLower(h.text(key)) {
		case "", "deg", "degree", "degrees":
			f = 3600
		case "arcmin":
			f = 60
		case "arcsec":
			f = 1
		case "mas":
			f = 1e-3
		case "rad":
			f = 180 * 3600 / math.Pi
		}
		w.cd[i][0], w.cd[i][1] = f*w.cd[i][0], f*w.cd[i][1]
	}
	scale := w.scale()
	if !(scale > 0) || math.IsInf(scale, 0) {
		return w, false
	}
	// A pixel of a degree is the default value of a header that has no sky coordinates.
	return w, scale < 600
}

// scale is the geometric mean of the sides of a pixel in arcsec.
func (w wcs) scale() float64 { return math.Sqrt(math.Abs(w.det())) }

func (w wcs) det() float64 { return w.cd[0][0]*w.cd[1][1] - w.cd[0][1]*w.cd[1][0] }

// square tells whether pixels are squares to 1 %.
func (w wcs) square() bool {
	a, b := math.Hypot(w.cd[0][0], w.cd[1][0]), math.Hypot(w.cd[0][1], w.cd[1][1])
	skew := w.cd[0][0]*w.cd[0][1] + w.cd[1][0]*w.cd[1][1]
	return math.Abs(a-b) <= 0.01*math.Max(a, b) && math.Abs(skew) <= 0.01*a*b
}

// eastOfNorth turns an angle counter-clockwise from the image's +x axis into a position angle on the sky, from north
// through east, in [0, π): world axis 1 is east (right ascension), 2 is north.
func (w wcs) eastOfNorth(phi float64) float64 {
	s, c := math.Sincos(phi)
	east := w.cd[0][0]*c + w.cd[0][1]*s
	north := w.cd[1][0]*c + w.cd[1][1]*s
	pa := math.Mod(math.Atan2(east, north), math.Pi)
	if pa < 0 {
		pa += math.Pi
	}
	return pa
}
