package fits

import (
	"fmt"
)

// plioTile decodes PLIO_1, IRAF's line lists for masks: 16-bit words of four bits of operation and twelve of data, which
// move a current value up and down and write runs of it, or of zeros (FITS standard 4.0, section 10.4.3).
func plioTile(out []int64, words []int16) error {
	// A list begins with words about itself: in the old form the third is its length, in the new one the second is the
	// place of the first operation and the fourth and fifth are its length.
	if len(words) < 3 {
		return errTile
	}
	first, length := 3, int(words[2])
	if words[2] <= 0 {
		if len(words) < 5 {
			return errTile
		}
		first, length = int(words[1]), int(words[4])<<15+int(words[3])
	}
	if first < 0 || length < 0 || length > len(words) {
		return fmt.Errorf("has a line list of %d words, found %d", length, len(words))
	}
	at, value := 0, int64(1)
	run := func(n int, v int64) {
		for end := min(len(out), at+n); at < end; at++ {
			out[at] = v
		}
	}
	for i := first; i < length; i++ {
		code, data := uint16(words[i])>>12, int64(words[i])&4095
		switch code {
		case 0: // zeros
			run(int(data), 0)
		case 1: // a new value
			if i++; i >= length {
				return errTile
			}
			value = int64(words[i])<<12 | data
		case 2:
			value += data
		case 3:
			value -= data
		case 4: // as many of the value
			run(int(data), value)
		case 5: // zeros, and the value at their end
			run(int(data)-1, 0)
			run(min(1, int(data)), value)
		case 6, 7: // a step and one pixel
			if code == 7 {
				data = -data
			}
			value += data
			run(1, value)
		default:
			return fmt.Errorf("has operation %d in its line list, expected 0 to 7", code)
		}
	}
	run(len(out)-at, 0)
	return nil
}
