//go:build unix

package hostile

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
)

// damage changes bytes of any file in one of the ways in which files break or are made to break a reader.
func damage(r *rand.Rand, b []byte) ([]byte, string) {
	b = bytes.Clone(b)
	if len(b) < 16 {
		return append(b, 0xff, 0, '[', '{'), "bytes appended"
	}
	at := func(n int) int { return r.IntN(max(1, len(b)-n)) }
	switch r.IntN(9) {
	case 0:
		i := at(1)
		b[i] ^= 1 << r.IntN(8)
		return b, fmt.Sprintf("one bit of byte %d", i)
	case 1:
		for range 12 {
			b[at(1)] ^= 1 << r.IntN(8)
		}
		return b, "12 bits"
	case 2:
		n := at(1)
		return b[:n], fmt.Sprintf("cut after %d bytes", n)
	case 3:
		n := 1 + r.IntN(min(len(b)/2, 4096))
		i := at(n)
		return append(bytes.Clone(b[:i+n]), b[i:]...), fmt.Sprintf("%d bytes at %d twice", n, i)
	case 4:
		n := 1 + r.IntN(min(len(b)/2, 4096))
		i := at(n)
		return append(bytes.Clone(b[:i]), b[i+n:]...), fmt.Sprintf("%d bytes at %d left out", n, i)
	case 5:
		n := 1 + r.IntN(min(len(b)/2, 512))
		i, v := at(n), []byte{0, 0xff, 0x7f}[r.IntN(3)]
		for j := i; j < i+n; j++ {
			b[j] = v
		}
		return b, fmt.Sprintf("%d bytes at %d set to %#x", n, i, v)
	case 6:
		// a length, most often among the first bytes
		i := r.IntN(min(len(b)-8, 256))
		v := []uint64{1<<62 - 1, 1<<63 - 1, 1<<64 - 1, 1 << 40, 1 << 31}[r.IntN(5)]
		if r.IntN(2) == 0 {
			binary.LittleEndian.PutUint64(b[i:], v)
		} else {
			binary.BigEndian.PutUint64(b[i:], v)
		}
		return b, fmt.Sprintf("length %#x at %d", v, i)
	case 7:
		i := at(4)
		binary.LittleEndian.PutUint32(b[i:], []uint32{0x7f800000, 0xff800000, 0x7fc00000, 0x7f7fffff}[r.IntN(4)])
		return b, fmt.Sprintf("number at %d not finite", i)
	}
	i := at(1)
	return append(append(bytes.Clone(b[:i]), bytes.Repeat([]byte{byte(r.IntN(256))}, 300)...), b[i:]...), fmt.Sprintf("300 bytes put in at %d", i)
}

var (
	numbers = regexp.MustCompile(`-?\b\d+(\.\d+)?([eE][-+]?\d+)?\b`)
	words   = regexp.MustCompile(`[A-Za-z_][A-Za-z_0-9.]{2,}`)
	// numbers that a file may hold and no reader wants
	extremes = []string{"1e308", "-1e308", "1e-320", "-1", "0", "4611686018427387904", "9223372036854775807", "1e400", "NaN", ".nan", ".inf",
		"-.inf", "1e12", "null", "[]", "{}", "true", "0x7fffffffffffffff", "\"x\"", "1e300", "1000000", "-0.0", "1e-300", "999999"}
)

// retell changes a text: a number, a word or a line of it.
func retell(r *rand.Rand, b []byte) ([]byte, string) {
	pick := func(re *regexp.Regexp) []int {
		all := re.FindAllIndex(b, 4000)
		if len(all) == 0 {
			return nil
		}
		return all[r.IntN(len(all))]
	}
	put := func(at []int, s string) []byte {
		return append(append(bytes.Clone(b[:at[0]]), s...), b[at[1]:]...)
	}
	lines := bytes.SplitAfter(b, []byte("\n"))
	switch k := r.IntN(12); {
	case k < 5:
		if at := pick(numbers); at != nil {
			v := extremes[r.IntN(len(extremes))]
			return put(at, v), fmt.Sprintf("number at %d is %s", at[0], v)
		}
	case k == 5:
		if at := pick(words); at != nil {
			return put(at, strings.Repeat("long", 100_000)), fmt.Sprintf("word at %d is 400 kB long", at[0])
		}
	case k == 6:
		if at := pick(words); at != nil {
			return put(at, "a\x1b]0;t\x07\x1b[31mb\rc"), fmt.Sprintf("control characters at %d", at[0])
		}
	case k == 7:
		if at := pick(numbers); at != nil {
			n := 1 + r.IntN(20000)
			return put(at, strings.Repeat("[", n)+strings.Repeat("]", n)), fmt.Sprintf("number at %d is nested %d deep", at[0], n)
		}
	case k == 8:
		if at := pick(numbers); at != nil {
			return put(at, strings.Repeat("9", 1+r.IntN(300_000))), fmt.Sprintf("number at %d has very many digits", at[0])
		}
	case k == 9 && len(lines) > 2:
		i := r.IntN(len(lines))
		return bytes.Join(append(append([][]byte{}, lines[:i]...), lines[i+1:]...), nil), fmt.Sprintf("line %d left out", i+1)
	case k == 10 && len(lines) > 2:
		i := r.IntN(len(lines))
		return bytes.Join(append(append([][]byte{}, lines[:i+1]...), lines[i:]...), nil), fmt.Sprintf("line %d twice", i+1)
	}
	return damage(r, b)
}

// retitle changes a card of a FITS header, or the bytes as damage does.
func retitle(r *rand.Rand, b []byte) ([]byte, string) {
	if r.IntN(3) == 0 {
		return damage(r, b)
	}
	var cards []int
	for i := 0; i+80 <= len(b) && len(cards) < 400; i += 80 {
		if len(b) > i+9 && b[i+8] == '=' && b[i+9] == ' ' {
			cards = append(cards, i)
		}
	}
	if len(cards) == 0 {
		return damage(r, b)
	}
	b = bytes.Clone(b)
	// half of the time one of those that say how much data there is
	i := cards[r.IntN(len(cards))]
	if r.IntN(2) == 0 {
		var sizes []int
		for _, c := range cards {
			if k := string(b[c : c+5]); strings.HasPrefix(k, "NAXIS") || k == "BITPI" || k == "PCOUN" || k == "GCOUN" || k == "TFIEL" || strings.HasPrefix(k, "TFORM") || strings.HasPrefix(k, "ZNAXI") || strings.HasPrefix(k, "ZTILE") || k == "BSCAL" || k == "BZERO" {
				sizes = append(sizes, c)
			}
		}
		if len(sizes) > 0 {
			i = sizes[r.IntN(len(sizes))]
		}
	}
	values := []string{"-1", "0", "1", "2147483647", "4611686018427387904", "9223372036854775807", "1E308", "-1E308", "NaN", "T", "'x'", "'\x1b[31m'", "1E-320", "65536",
		"1.5", "", "'unclosed", "'9999999999E'", "'1QE(99999999)'", "1000000", "16", "-32", "999"}
	v := values[r.IntN(len(values))]
	copy(b[i+10:i+80], fmt.Sprintf("%20s%50s", v, ""))
	return b, fmt.Sprintf("%s = %q", strings.TrimSpace(string(b[i:i+8])), v)
}
