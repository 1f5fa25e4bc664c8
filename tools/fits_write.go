package tools

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// fitsOut is one image to be written. Axes are NAXIS1 (fastest), NAXIS2, ...; Bitpix is -32 or -64; an image without
// axes is an empty primary HDU.
type fitsOut struct {
	Name   string // EXTNAME
	Bitpix int
	Axes   []int
	Pix    []float64
	Cards  []fitsKey
}

// fitsKey is a keyword with its value: a bool, an int, a float64 or a string.
type fitsKey struct {
	Key     string
	Value   any
	Comment string
}

// writeFITS writes images to path, atomically: the first as the primary HDU, the others as extensions.
func writeFITS(path string, images ...fitsOut) error {
	return writeAtomic(path, func(w io.Writer) error {
		for i := range images {
			if err := images[i].write(w, i == 0); err != nil {
				return err
			}
		}
		return nil
	})
}

func (m *fitsOut) write(w io.Writer, primary bool) error {
	bitpix := m.Bitpix
	if bitpix == 0 {
		bitpix = -32
	}
	cards := []fitsKey{{"SIMPLE", true, "conforms to FITS standard"}}
	if !primary {
		cards[0] = fitsKey{"XTENSION", "IMAGE", "image extension"}
	}
	cards = append(cards, fitsKey{"BITPIX", bitpix, "array data type"}, fitsKey{"NAXIS", len(m.Axes), "number of array dimensions"})
	n := min(1, len(m.Axes))
	for i, a := range m.Axes {
		cards = append(cards, fitsKey{"NAXIS" + strconv.Itoa(i+1), a, ""})
		n *= a
	}
	if n != len(m.Pix) {
		panic("tools: write FITS: axes and pixels do not match")
	}
	if primary {
		cards = append(cards, fitsKey{"EXTEND", true, ""})
	} else {
		cards = append(cards, fitsKey{"PCOUNT", 0, ""}, fitsKey{"GCOUNT", 1, ""})
	}
	if m.Name != "" {
		cards = append(cards, fitsKey{"EXTNAME", m.Name, ""})
	}
	var b strings.Builder
	for _, c := range append(cards, m.Cards...) {
		line, err := c.line()
		if err != nil {
			return err
		}
		b.WriteString(line)
	}
	fmt.Fprintf(&b, "%-80s", "END")
	if k := b.Len() % fitsBlock; k > 0 {
		b.WriteString(strings.Repeat(" ", fitsBlock-k))
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return err
	}
	var word [8]byte
	width := abs(bitpix) / 8
	for _, v := range m.Pix {
		if bitpix == -64 {
			binary.BigEndian.PutUint64(word[:], math.Float64bits(v))
		} else {
			binary.BigEndian.PutUint32(word[:], math.Float32bits(float32(v)))
		}
		if _, err := w.Write(word[:width]); err != nil {
			return err
		}
	}
	if k := n * width % fitsBlock; k > 0 {
		_, err := w.Write(make([]byte, fitsBlock-k))
		return err
	}
	return nil
}

// line formats the card in the fixed format of the standard; a string that does not fit on the line is cut.
func (c fitsKey) line() (string, error) {
	var value string
	switch v := c.Value.(type) {
	case bool:
		value = fmt.Sprintf("%20s", map[bool]string{true: "T", false: "F"}[v])
	case int:
		value = fmt.Sprintf("%20d", v)
	case float64:
		if v-v != 0 {
			return "", fmt.Errorf("keyword %s: %g cannot be written in a FITS header", c.Key, v)
		}
		s := strconv.FormatFloat(v, 'G', -1, 64)
		if !strings.ContainsAny(s, ".E") {
			s += ".0"
		}
		value = fmt.Sprintf("%20s", s)
	case string:
		s := strings.ReplaceAll(printable([]byte(v)), "'", "''")
		for len(s) > 66 {
			v = v[:len(v)-1]
			s = strings.ReplaceAll(printable([]byte(v)), "'", "''")
		}
		value = fmt.Sprintf("'%-8s'", s)
	default:
		panic("tools: write FITS: card of unknown type")
	}
	line := fmt.Sprintf("%-8s= %s", c.Key, value)
	if c.Comment != "" {
		line = fmt.Sprintf("%-30s / %s", line, c.Comment)
	}
	return fmt.Sprintf("%-80.80s", line), nil
}

// gridWCS are the cards of an image whose centre lies at (x, y) arcsec and whose pixels are scale arcsec wide, for
// images that are not placed on the sky.
func gridWCS(w, h int, scale, x, y float64) []fitsKey {
	return []fitsKey{
		{"CTYPE1", "LINEAR", ""}, {"CUNIT1", "arcsec", ""}, {"CRPIX1", float64(w+1) / 2, ""}, {"CRVAL1", x, ""}, {"CDELT1", scale, ""},
		{"CTYPE2", "LINEAR", ""}, {"CUNIT2", "arcsec", ""}, {"CRPIX2", float64(h+1) / 2, ""}, {"CRVAL2", y, ""}, {"CDELT2", scale, ""},
	}
}

// copyWCS returns the cards that place the image of header h on the sky, or nil when it has none.
func copyWCS(h *fitsHeader) []fitsKey {
	if _, ok := skyWCS(h); !ok {
		return nil
	}
	var out []fitsKey
	for _, key := range wcsKeys {
		i, ok := h.at[key]
		if !ok {
			continue
		}
		c := h.cards[i]
		if c.isText {
			out = append(out, fitsKey{key, c.value, c.comment})
		} else if key == "WCSAXES" {
			out = append(out, fitsKey{key, 2, c.comment})
		} else if v, err := h.number(key, 0); err == nil {
			out = append(out, fitsKey{key, v, c.comment})
		}
	}
	return out
}
