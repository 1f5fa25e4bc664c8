package fits

import (
	"cmp"
	"encoding/binary"
	"math"
)

// fitsScaling turns stored numbers into values: zero + scale * stored, and NaN for an integer that is blank.
type fitsScaling struct {
	scale, zero float64
	blank       int64
	hasBlank    bool
}

// scaling reads BSCALE, BZERO and BLANK.
func (h *HDU) scaling() (s fitsScaling, err error) {
	var errScale, errZero, errBlank error
	s.scale, errScale = h.Header.Number("BSCALE", 1)
	s.zero, errZero = h.Header.Number("BZERO", 0)
	s.blank, s.hasBlank, errBlank = h.Header.integer("BLANK")
	return s, cmp.Or(errScale, errZero, errBlank)
}

// integer is the value of a stored integer. A 64-bit one has more digits than a float64: its two halves are scaled one after
// the other, so that those of an unsigned one (zero = 2⁶³) are rounded once, to the nearest.
func (s fitsScaling) integer(v int64) float64 {
	switch {
	case s.hasBlank && v == s.blank:
		return math.NaN()
	case s.scale == 1 && s.zero == 0:
		return float64(v)
	case v == int64(int32(v)):
		return s.zero + s.scale*float64(v)
	}
	low := v & (1<<32 - 1)
	return s.zero + s.scale*float64(v-low) + s.scale*float64(low)
}

// float is the value of a stored floating-point number.
func (s fitsScaling) float(v float64) float64 {
	if s.scale == 1 && s.zero == 0 {
		return v
	}
	return s.zero + s.scale*v
}

// decode fills pix from the big-endian numbers of raw, of the type that bitpix names.
func (s fitsScaling) decode(pix []float64, raw []byte, bitpix int) {
	for i := range pix {
		switch bitpix {
		case -32:
			pix[i] = s.float(float64(math.Float32frombits(binary.BigEndian.Uint32(raw[4*i:]))))
		case -64:
			pix[i] = s.float(math.Float64frombits(binary.BigEndian.Uint64(raw[8*i:])))
		default:
			pix[i] = s.integer(bigEndian(raw, i, bitpix))
		}
	}
}

// bigEndian is the i-th integer of raw, of the type that bitpix names: unsigned of 8 bits, signed of more.
func bigEndian(raw []byte, i, bitpix int) int64 {
	switch bitpix {
	case 8:
		return int64(raw[i])
	case 16:
		return int64(int16(binary.BigEndian.Uint16(raw[2*i:])))
	case 32:
		return int64(int32(binary.BigEndian.Uint32(raw[4*i:])))
	}
	return int64(binary.BigEndian.Uint64(raw[8*i:]))
}
