package fits

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/astrogo/fitsio"
	"lenskit/tools/internal/rundir"
)

// Out is one image to be written. Axes are NAXIS1 (fastest), NAXIS2, ...; Bitpix is -32 or -64; an image without
// axes is an empty primary HDU.
type Out struct {
	Name   string // EXTNAME
	Bitpix int
	Axes   []int
	Pix    []float64
	Cards  []Key
}

// Key is a keyword with its value (a bool, an int, a float64, a string or a rawValue) and a comment.
type Key fitsio.Card

// rawValue is what stands behind a keyword in another header, the equals sign, value and comment.
type rawValue string

// Write writes images to path, atomically: the first as the primary HDU, the others as extensions.
func Write(path string, images ...Out) error {
	return rundir.WriteAtomic(path, func(w io.Writer) error {
		var header bytes.Buffer
		f, err := fitsio.Create(&header)
		if err != nil {
			return err
		}
		for i := range images {
			header.Reset()
			if err := images[i].write(w, f, &header); err != nil {
				return err
			}
		}
		return nil
	})
}

// write writes the image to w; f is the file whose headers go to header.
func (m *Out) write(w io.Writer, f *fitsio.File, header *bytes.Buffer) error {
	bitpix := m.Bitpix
	if bitpix == 0 {
		bitpix = -32
	}
	n := min(1, len(m.Axes))
	for _, a := range m.Axes {
		n *= a
	}
	if n != len(m.Pix) {
		panic("tools: write FITS: axes and pixels do not match")
	}
	img := fitsio.NewImage(bitpix, m.Axes)
	cards := []Key{{"EXTEND", true, ""}}
	if len(f.HDUs()) > 0 {
		cards = []Key{{"PCOUNT", 0, ""}, {"GCOUNT", 1, ""}}
	}
	if m.Name != "" {
		cards = append(cards, Key{"EXTNAME", m.Name, ""})
	}
	for _, c := range append(cards, m.Cards...) {
		card, err := c.card()
		if err == nil {
			err = img.Header().Append(card)
		}
		if err != nil {
			return fmt.Errorf("keyword %s: %w", c.Name, err)
		}
	}
	if err := f.Write(img); err != nil { // the header alone: img has no pixels yet
		return err
	}
	if _, err := w.Write(bareNumbers(header.Bytes(), m.Cards)); err != nil {
		return err
	}
	encode := encodePixels[float32]
	if bitpix == -64 {
		encode = encodePixels[float64]
	}
	if err := encode(w, bitpix, m.Pix); err != nil {
		return err
	}
	_, err := w.Write(make([]byte, (Block-n*Abs(bitpix)/8%Block)%Block))
	return err
}

// encodePixels writes pix to w as big-endian numbers of the type T that bitpix names.
func encodePixels[T float32 | float64](w io.Writer, bitpix int, pix []float64) error {
	chunk := make([]T, min(len(pix), fitsChunk))
	for len(pix) > 0 {
		chunk = chunk[:min(len(pix), len(chunk))]
		for i := range chunk {
			chunk[i] = T(pix[i])
		}
		img := fitsio.NewImage(bitpix, []int{len(chunk)})
		if err := img.Write(chunk); err != nil {
			return err
		}
		if _, err := w.Write(img.Raw()); err != nil {
			return err
		}
		pix = pix[len(chunk):]
	}
	return nil
}

// card is the keyword as fitsio writes it. Of a float64 fitsio keeps six digits, so it goes as text with all of them (see
// bareNumbers). A string that does not fit on the line is cut, and its quotes are doubled.
func (c Key) card() (fitsio.Card, error) {
	switch v := c.Value.(type) {
	case float64:
		if v-v != 0 {
			return fitsio.Card{}, fmt.Errorf("%g cannot be written in a FITS header", v)
		}
		s := strconv.FormatFloat(v, 'G', -1, 64)
		if !strings.ContainsAny(s, ".E") {
			s += ".0"
		}
		c.Value = s
	case string:
		s := printable([]byte(v))
		for len(s)+strings.Count(s, "'") > 66 {
			s = s[:len(s)-1]
		}
		c.Value = strings.ReplaceAll(s, "'", "''")
	case rawValue:
		c.Value = "" // bareNumbers puts it in
	}
	return fitsio.Card(c), nil
}

// bareNumbers takes the quotes from the values of a header that are float64 in cards, and puts the raw ones in, in place.
func bareNumbers(header []byte, cards []Key) []byte {
	for _, c := range cards {
		raw, isRaw := c.Value.(rawValue)
		_, isFloat := c.Value.(float64)
		if !isRaw && !isFloat {
			continue
		}
		i := bytes.Index(header, fmt.Appendf(nil, "%-8s= '", c.Name))
		if i < 0 {
			continue
		}
		line := header[i : i+80]
		if isRaw {
			copy(line[8:], fmt.Sprintf("%-72.72s", printable([]byte(raw))))
		} else {
			copy(line, bytes.Replace(line, []byte("'"), []byte(" "), 2))
		}
	}
	return header
}

// GridWCS are the cards of an image whose centre lies at (x, y) arcsec and whose pixels are scale arcsec wide, for
// images that are not placed on the sky.
func GridWCS(w, h int, scale, x, y float64) []Key {
	return []Key{
		{"CTYPE1", "LINEAR", ""}, {"CUNIT1", "arcsec", ""}, {"CRPIX1", float64(w+1) / 2, ""}, {"CRVAL1", x, ""}, {"CDELT1", scale, ""},
		{"CTYPE2", "LINEAR", ""}, {"CUNIT2", "arcsec", ""}, {"CRPIX2", float64(h+1) / 2, ""}, {"CRVAL2", y, ""}, {"CDELT2", scale, ""},
	}
}

// CopyWCS returns the cards that place the image of header h on the sky, or nil when it has none.
func CopyWCS(h Header) []Key {
	if _, ok := SkyWCS(h); !ok {
		return nil
	}
	var out []Key
	if c, ok := h["WCSAXES"]; ok { // it stands before the others
		out = append(out, Key{"WCSAXES", 2, c.comment})
	}
	for _, key := range slices.Sorted(maps.Keys(h)) {
		c := h[key]
		switch _, err := h.Number(key, 0); {
		case !wcsKeys.MatchString(key) || key == "WCSAXES":
		case c.isText: // as it stands: a blank at the end of a long text counts
			out = append(out, Key{key, rawValue("= " + strings.TrimLeft(c.rest[1:], " ")), ""})
		case err == nil && c.Value != "": // with all its digits
			out = append(out, Key{key, rawValue(fmt.Sprintf("= %20s / %s", strings.ToUpper(c.Value), c.comment)), ""})
		}
	}
	return out
}
