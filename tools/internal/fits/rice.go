package fits

import (
	"errors"
	"math/bits"
)

// errTile is the error of a tile whose bytes end before its pixels.
var errTile = errors.New("ends before its pixels")

// bitReader reads numbers of some bits, the highest first.
type bitReader struct {
	data []byte
	word uint64
	have uint // bits in word
	end  bool // more was read than there is
}

// fill takes at least n ≤ 56 bits into word; beyond the end these are zeros.
func (r *bitReader) fill(n uint) {
	for r.have < n {
		var b byte
		if len(r.data) > 0 {
			b, r.data = r.data[0], r.data[1:]
		} else {
			r.end = true
		}
		r.word = r.word<<8 | uint64(b)
		r.have += 8
	}
}

// bits reads n ≤ 32 bits.
func (r *bitReader) bits(n uint) uint64 {
	r.fill(n)
	r.have -= n
	v := r.word >> r.have
	r.word &= 1<<r.have - 1
	return v
}

// zeros counts the zeros before the next one, and reads both.
func (r *bitReader) zeros() (n uint64) {
	for r.word == 0 {
		if n += uint64(r.have); len(r.data) == 0 {
			r.end = true
			return n
		}
		r.have = 0
		r.fill(8)
	}
	lead := r.have - uint(bits.Len64(r.word))
	r.bits(lead + 1)
	return n + uint64(lead)
}

// align skips to the next byte.
func (r *bitReader) align() { r.word, r.have = 0, 0 }

// riceTile decodes RICE_1: differences of neighbours, in blocks of which each has its own number of low bits; the high ones
// are in unary. Numbers have 1, 2 or 4 bytes (FITS standard 4.0, section 10.4.1; Rice, Yeh & Miller 1993).
func riceTile(out []int64, data []byte, block, width int) error {
	size, head := uint(8*width), uint(3+width/2) // bits of a number, and of what stands before a block
	raw := [...]uint64{6, 14, 25}[width/2]       // marks a block of numbers as they are
	r := &bitReader{data: data}
	mask := uint64(1)<<size - 1
	last := r.bits(size)
	for i := 0; i < len(out); {
		mark := r.bits(head)
		for end := min(len(out), i+block); i < end; i++ {
			var d uint64
			switch low := mark - 1; {
			case mark == 0: // all the same
			case low == raw:
				d = r.bits(size)
			default:
				d = r.zeros() << low
				d |= r.bits(uint(low))
			}
			if r.end {
				return errTile
			}
			// 0, -1, 1, -2, ... are stored as 0, 1, 2, 3, ...
			last = (last + (d>>1 ^ -(d & 1))) & mask
			switch width {
			case 1:
				out[i] = int64(last)
			case 2:
				out[i] = int64(int16(last))
			default:
				out[i] = int64(int32(last))
			}
		}
	}
	return nil
}
