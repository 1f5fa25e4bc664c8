package fits

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"lenskit/internal/disk"
	"lenskit/tools/internal/term"
)

// fitsTiles is the layout of a tile-compressed image: a table with a row for each tile, whose bytes lie in the heap behind
// the rows (FITS standard 4.0, section 10).
type fitsTiles struct {
	axes, tile []int // of the image, and of a tile, which is smaller at the far edges
	bitpix     int   // of the image
	kind       string
	block      int  // of RICE_1: pixels of a block,
	width      int  // and bytes of a number
	smooth     bool // of HCOMPRESS_1
	dither     fitsDither
	lossy      bool // floating-point pixels are stored as integers, with a scale and a zero for each tile
	scale      tileNumber
	zero       tileNumber
	blank      tileNumber
	row        int // bytes
	rows       int64
	heap       int64 // offset from the start of the data
	heapSize   int64
	data       tileColumn // as kind says
	gzip       tileColumn // floating-point pixels that did not become integers
	plain      tileColumn // pixels that are not compressed
}

// tileColumn is a column of descriptors: the place in the heap of a tile's bytes.
type tileColumn struct {
	at     int // in a row; -1 for no such column
	wide   bool
	letter byte // the type of an element
}

// tileNumber is a number for each tile: a column, or the same for all.
type tileNumber struct {
	at     int // in a row; -1 for none
	letter byte
	all    float64
	given  bool
}

// tileKinds are the ways to compress that are read.
var tileKinds = []string{"RICE_1", "RICE_ONE", "GZIP_1", "GZIP_2", "PLIO_1", "HCOMPRESS_1", "NOCOMPRESS"}

var tileForm = regexp.MustCompile(`^[01]?([PQ])([LXBIJKAEDCM])`)

// tileLayout reads the layout from the header. Its errors are those of the image, not of the file.
func (h *HDU) tileLayout() (*fitsTiles, error) {
	t := &fitsTiles{kind: h.Header.Text("ZCMPTYPE"), block: 32, width: 4}
	if !slices.Contains(tileKinds, t.kind) {
		return nil, fmt.Errorf("found ZCMPTYPE = %q, expected one of %s", term.Shown(t.kind), strings.Join(tileKinds, ", "))
	}
	bitpix, err := h.Header.needed("ZBITPIX")
	if err != nil {
		return nil, err
	}
	if !slices.Contains(fitsBitpix, int(bitpix)) {
		return nil, fmt.Errorf("found ZBITPIX = %d, expected 8, 16, 32, 64, -32 or -64", bitpix)
	}
	t.bitpix = int(bitpix)
	naxis, err := h.Header.needed("ZNAXIS")
	if err != nil {
		return nil, err
	}
	if naxis < 1 || naxis > fitsMaxDimension {
		return nil, fmt.Errorf("found ZNAXIS = %d, expected 1 to %d", naxis, fitsMaxDimension)
	}
	tiles := int64(1)
	for i := 1; i <= int(naxis); i++ {
		n := strconv.Itoa(i)
		side, err := h.Header.needed("ZNAXIS" + n)
		if err != nil {
			return nil, err
		}
		if side < 0 || side > math.MaxInt32 {
			return nil, fmt.Errorf("found ZNAXIS%d = %d, expected 0 to %d", i, side, math.MaxInt32)
		}
		tile, ok, err := h.Header.integer("ZTILE" + n)
		if err != nil {
			return nil, err
		}
		switch {
		case !ok && i == 1:
			tile = side
		case !ok:
			tile = 1
		case tile < 1:
			return nil, fmt.Errorf("found ZTILE%d = %d, expected 1 or more", i, tile)
		}
		tile = max(1, min(tile, side))
		t.axes, t.tile = append(t.axes, int(side)), append(t.tile, int(tile))
		tiles = times(tiles, (side+tile-1)/tile)
	}
	if err := t.parameters(h.Header); err != nil {
		return nil, err
	}
	if t.dither, err = newDither(h.Header); err != nil {
		return nil, err
	}
	if len(h.axes) != 2 {
		return nil, fmt.Errorf("found a table of %d axes, expected 2", len(h.axes))
	}
	t.row, t.rows = h.axes[0], int64(h.axes[1])
	if t.rows < tiles {
		return nil, fmt.Errorf("found %d rows, expected %d, one for each tile", t.rows, tiles)
	}
	table := times(int64(t.row), t.rows)
	heap, ok, err := h.Header.integer("THEAP")
	if err != nil {
		return nil, err
	}
	if !ok {
		heap = table
	}
	pcount, _, err := h.Header.integer("PCOUNT")
	if err != nil {
		return nil, err
	}
	t.heap, t.heapSize = heap, pcount-(heap-table)
	if heap < table || heap > 1<<60 || t.heapSize < 0 {
		return nil, fmt.Errorf("found a heap from byte %d with %d bytes behind the rows, which end at byte %d", heap, pcount, table)
	}
	return t, t.columns(h.Header)
}

// parameters reads the ZNAMEi and ZVALi.
func (t *fitsTiles) parameters(h Header) error {
	for i := 1; i < 1000; i++ {
		n := strconv.Itoa(i)
		name := h.Text("ZNAME" + n)
		if name == "" {
			break
		}
		v, _, err := h.integer("ZVAL" + n)
		switch {
		case name == "BLOCKSIZE" && t.isRice():
			if err != nil || v < 1 || v > 1<<16 {
				return fmt.Errorf("found BLOCKSIZE = %q, expected 16 or 32", term.Shown(h.Text("ZVAL"+n)))
			}
			t.block = int(v)
		case name == "BYTEPIX" && t.isRice():
			if err != nil || v != 1 && v != 2 && v != 4 {
				return fmt.Errorf("found BYTEPIX = %q, expected 1, 2 or 4", term.Shown(h.Text("ZVAL"+n)))
			}
			t.width = int(v)
		case name == "SMOOTH" && t.kind == "HCOMPRESS_1":
			if err != nil {
				return fmt.Errorf("found SMOOTH = %q, expected 0 or 1", term.Shown(h.Text("ZVAL"+n)))
			}
			t.smooth = v != 0
		}
	}
	return nil
}

func (t *fitsTiles) isRice() bool { return strings.HasPrefix(t.kind, "RICE") }

// columns finds the columns of the table.
func (t *fitsTiles) columns(h Header) error {
	t.data.at, t.gzip.at, t.plain.at = -1, -1, -1
	t.scale.at, t.zero.at, t.blank.at = -1, -1, -1
	lists := map[string]*tileColumn{"COMPRESSED_DATA": &t.data, "GZIP_COMPRESSED_DATA": &t.gzip, "UNCOMPRESSED_DATA": &t.plain}
	numbers := map[string]*tileNumber{"ZSCALE": &t.scale, "ZZERO": &t.zero, "ZBLANK": &t.blank}
	for name, c := range numbers {
		var err error
		if c.given = h.Has(name); c.given {
			if c.all, err = h.Number(name, 0); err != nil {
				return err
			}
		}
	}
	if !t.blank.given && h.Has("BLANK") {
		v, ok, err := h.integer("BLANK")
		if err != nil {
			return err
		}
		t.blank.all, t.blank.given = float64(v), ok
	}
	fields, err := h.needed("TFIELDS")
	if err != nil {
		return err
	}
	if fields < 0 || fields > fitsMaxColumns {
		return fmt.Errorf("found TFIELDS = %d, expected 0 to %d", fields, fitsMaxColumns)
	}
	at := 0
	for k := 1; k <= int(fields); k++ {
		n := strconv.Itoa(k)
		form, name := h.Text("TFORM"+n), strings.ToUpper(h.Text("TTYPE"+n))
		m := fitsForm.FindStringSubmatch(form)
		if m == nil {
			return fmt.Errorf("found TFORM%d = %q, expected a count and a type", k, term.Shown(form))
		}
		count := 1
		if m[1] != "" {
			if count, err = strconv.Atoi(m[1]); err != nil || count > 8*t.row {
				return fmt.Errorf("found TFORM%d = %q in rows of %d bytes", k, term.Shown(form), t.row)
			}
		}
		letter := m[2][0]
		if c := lists[name]; c != nil {
			f := tileForm.FindStringSubmatch(form)
			if f == nil || count != 1 {
				return fmt.Errorf("found TFORM%d = %q for %s, expected 1P and a type", k, term.Shown(form), name)
			}
			*c = tileColumn{at, f[1] == "Q", f[2][0]}
		}
		if c := numbers[name]; c != nil {
			if !strings.ContainsRune("BIJKED", rune(letter)) || count != 1 {
				return fmt.Errorf("found TFORM%d = %q for %s, expected one number", k, term.Shown(form), name)
			}
			c.at, c.letter, c.given = at, letter, true
		}
		if letter == 'X' {
			at += (count + 7) / 8
		} else {
			at += count * fitsTypes[letter]
		}
		if at > t.row {
			return fmt.Errorf("column %d ends at byte %d of rows of %d bytes", k, at, t.row)
		}
	}
	t.lossy = t.bitpix < 0 && (t.scale.given || t.zero.given)
	switch {
	case t.data.at < 0 && t.gzip.at < 0 && t.plain.at < 0:
		return fmt.Errorf("has no column COMPRESSED_DATA")
	case t.lossy && !(t.scale.given && t.zero.given):
		return fmt.Errorf("has one of ZSCALE and ZZERO, expected both or none")
	case t.bitpix < 0 && !t.lossy && !strings.HasPrefix(t.kind, "GZIP") && t.kind != "NOCOMPRESS":
		return fmt.Errorf("has floating-point pixels in %s without ZSCALE and ZZERO", t.kind)
	}
	return nil
}

// number is the tile's own number, or that of all.
func (c tileNumber) number(row []byte) float64 {
	if c.at < 0 {
		return c.all
	}
	b := row[c.at:]
	switch c.letter {
	case 'E':
		return float64(math.Float32frombits(binary.BigEndian.Uint32(b)))
	case 'D':
		return math.Float64frombits(binary.BigEndian.Uint64(b))
	}
	return float64(bigEndian(b, 0, 8*fitsTypes[c.letter]))
}

// fitsMaxTile bounds the packed bytes of a tile, beside what its pixels would take.
const fitsMaxTile = 1 << 16

// memory is about what unpacking takes beside the image.
func (t *fitsTiles) memory() int64 {
	pixels := int64(1)
	for _, side := range t.tile {
		pixels = times(pixels, int64(side))
	}
	return min(times(pixels, 48), math.MaxInt64/2)
}

// bytes reads a tile's bytes from the heap.
func (t *fitsTiles) bytes(r io.ReaderAt, start int64, c tileColumn, row []byte, pixels int) ([]byte, error) {
	if c.at < 0 {
		return nil, nil
	}
	var n, at int64
	if b := row[c.at:]; c.wide {
		n, at = int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[8:]))
	} else {
		n, at = int64(binary.BigEndian.Uint32(b)), int64(binary.BigEndian.Uint32(b[4:]))
	}
	size := times(max(0, n), int64(fitsTypes[c.letter]))
	if n < 0 || at < 0 || at > t.heapSize || size > t.heapSize-at {
		return nil, fmt.Errorf("lies at bytes %d to %d of a heap of %d", at, at+min(size, 1<<60), t.heapSize)
	}
	// no way to compress makes more than twice as many bytes
	if most := int64(pixels)*16 + fitsMaxTile; size > most {
		return nil, fmt.Errorf("has %s for %d pixels, expected at most %s", disk.Size(size), pixels, disk.Size(most))
	}
	data := make([]byte, size)
	if n, err := r.ReadAt(data, start+t.heap+at); n < len(data) {
		if err == io.EOF {
			return nil, fmt.Errorf("is truncated: found %d bytes, expected %d", n, len(data))
		}
		return nil, err
	}
	return data, nil
}

// read unpacks the whole image and gives it to add.
func (t *fitsTiles) read(d *Data, h *HDU, s fitsScaling, add func([]float64)) error {
	var r io.ReaderAt = d
	start := h.start
	if d.packed { // tiles may lie in any order
		size := t.heap + t.heapSize
		if size > fitsMaxBeyond {
			return fmt.Errorf("holds %s of tiles within a packed file, expected at most %s: unpack it first", disk.Size(size), disk.Size(fitsMaxBeyond))
		}
		all, err := disk.ReadAll(io.NewSectionReader(d, start, size), 0, size)
		if err != nil {
			return err
		}
		r, start = bytes.NewReader(all), 0
	}
	if s.hasBlank && t.bitpix < 0 {
		s.hasBlank = false // it is that of the integers
	}
	out := make([]float64, h.Size())
	if len(out) == 0 {
		return nil
	}
	row := make([]byte, t.row)
	low, size := make([]int, len(t.axes)), make([]int, len(t.axes))
	var pix []float64
	for n := 0; ; n++ {
		pixels := 1
		for i := range size {
			size[i] = min(t.tile[i], t.axes[i]-low[i])
			pixels *= size[i]
		}
		if k, err := r.ReadAt(row, start+int64(n)*int64(t.row)); k < len(row) {
			if err == io.EOF {
				err = fmt.Errorf("is truncated: found %d rows, expected more", n)
			}
			return err
		}
		if cap(pix) < pixels {
			pix = make([]float64, pixels)
		}
		pix = pix[:pixels]
		if err := t.unpack(pix, r, start, row, n, s); err != nil {
			return fmt.Errorf("tile %d %w", n+1, err)
		}
		placeTile(out, t.axes, pix, low, size)
		i := 0
		for ; i < len(low); i++ { // the first axis runs fastest
			if low[i] += t.tile[i]; low[i] < t.axes[i] {
				break
			}
			low[i] = 0
		}
		if i == len(low) {
			break
		}
	}
	add(out)
	return nil
}

// placeTile copies a tile into the image.
func placeTile(out []float64, axes []int, pix []float64, low, size []int) {
	at := make([]int, len(axes))
	for len(pix) > 0 {
		k := 0
		for i := len(axes) - 1; i >= 0; i-- {
			k = k*axes[i] + low[i] + at[i]
		}
		copy(out[k:], pix[:size[0]])
		pix = pix[size[0]:]
		for i := 1; i < len(axes); i++ {
			if at[i]++; at[i] < size[i] {
				break
			}
			at[i] = 0
		}
	}
}

// unpack unpacks tile n.
func (t *fitsTiles) unpack(pix []float64, r io.ReaderAt, start int64, row []byte, n int, s fitsScaling) error {
	data, err := t.bytes(r, start, t.data, row, len(pix))
	if err != nil {
		return err
	}
	if len(data) == 0 {
		return t.unpackPlain(pix, r, start, row, s)
	}
	if t.bitpix < 0 && !t.lossy {
		width := Abs(t.bitpix) / 8
		raw, err := t.gunzip(data, len(pix))
		if err == nil && len(raw) != width*len(pix) {
			err = fmt.Errorf("has %d bytes, expected %d", len(raw), width*len(pix))
		}
		if err == nil {
			s.decode(pix, raw, t.bitpix)
		}
		return err
	}
	stored := make([]int64, len(pix))
	switch {
	case t.isRice():
		err = riceTile(stored, data, t.block, t.width)
	case t.kind == "PLIO_1":
		if t.data.letter != 'I' {
			return fmt.Errorf("is of type %c, expected I for PLIO_1", t.data.letter)
		}
		words := make([]int16, len(data)/2)
		for i := range words {
			words[i] = int16(bigEndian(data, i, 16))
		}
		err = plioTile(stored, words)
	case t.kind == "HCOMPRESS_1":
		err = hcompressTile(stored, data, t.smooth)
	default:
		var raw []byte
		if raw, err = t.gunzip(data, len(pix)); err != nil {
			return err
		}
		width := len(raw) / len(pix)
		if len(raw) != width*len(pix) || width != 1 && width != 2 && width != 4 && width != 8 {
			return fmt.Errorf("has %d bytes for %d pixels, expected 1, 2, 4 or 8 each", len(raw), len(pix))
		}
		for i := range stored {
			stored[i] = bigEndian(raw, i, 8*width)
		}
	}
	if err != nil {
		return err
	}
	blank := t.blank.number(row)
	if t.lossy {
		t.dither.restore(pix, stored, n, t.scale.number(row), t.zero.number(row), int64(blank), t.blank.given, t.bitpix == -32)
		for i, v := range pix {
			pix[i] = s.float(v)
		}
		return nil
	}
	for i, v := range stored {
		if pix[i] = s.integer(v); t.blank.given && v == int64(blank) {
			pix[i] = math.NaN()
		}
	}
	return nil
}

// unpackPlain unpacks a tile that the other columns hold.
func (t *fitsTiles) unpackPlain(pix []float64, r io.ReaderAt, start int64, row []byte, s fitsScaling) error {
	width := Abs(t.bitpix) / 8
	raw, err := t.bytes(r, start, t.gzip, row, len(pix))
	switch {
	case err != nil:
		return err
	case len(raw) > 0:
		if raw, err = gunzip(raw, width*len(pix)); err != nil {
			return err
		}
	default:
		if raw, err = t.bytes(r, start, t.plain, row, len(pix)); err != nil {
			return err
		}
		if len(raw) == 0 {
			return fmt.Errorf("has no bytes")
		}
	}
	if len(raw) != width*len(pix) {
		return fmt.Errorf("has %d bytes, expected %d", len(raw), width*len(pix))
	}
	s.decode(pix, raw, t.bitpix)
	return nil
}

// gunzip undoes GZIP_1 and GZIP_2, which has the first bytes of all pixels, then the second ones and so on. Numbers have
// at most 8 bytes.
func (t *fitsTiles) gunzip(data []byte, pixels int) ([]byte, error) {
	if t.kind == "NOCOMPRESS" {
		return data, nil
	}
	raw, err := gunzip(data, 8*pixels)
	if err != nil || t.kind == "GZIP_1" {
		return raw, err
	}
	out := make([]byte, len(raw))
	width := len(raw) / pixels
	for i := range out[:width*pixels] {
		out[i] = raw[i%width*pixels+i/width]
	}
	return out, nil
}

// gunzip unpacks at most so many bytes.
func gunzip(data []byte, most int) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("is no gzip stream: %w", err)
	}
	z.Multistream(false)
	var b bytes.Buffer
	n, err := io.Copy(&b, io.LimitReader(z, int64(most)+1))
	if err != nil {
		return nil, fmt.Errorf("is damaged: %w", err)
	}
	if n > int64(most) {
		return nil, fmt.Errorf("unpacks to more than %d bytes", most)
	}
	return b.Bytes(), nil
}

// tileKeys are the keywords of the table that are not the image's.
var tileKeys = regexp.MustCompile(`^(Z(IMAGE|TENSION|BITPIX|NAXIS\d*|TILE\d+|CMPTYPE|NAME\d+|VAL\d+|MASKCMP|BLANK|SIMPLE|EXTEND|BLOCKED|PCOUNT|GCOUNT|HECKSUM|DATASUM|QUANTIZ|DITHER0|SCALE|ZERO)|` +
	`T(FIELDS|TYPE\d+|FORM\d+|UNIT\d+|NULL\d+|SCAL\d+|ZERO\d+|DISP\d+|DIM\d+|HEAP)|XTENSION|BITPIX|NAXIS\d*|PCOUNT|GCOUNT|CHECKSUM|DATASUM)$`)

// imageHeader is the header of the image: that of the HDU, or what it was before the image was compressed.
func (h *HDU) imageHeader() Header {
	if h.tiles == nil {
		return h.Header
	}
	out := maps.Clone(h.Header)
	maps.DeleteFunc(out, func(key string, _ Card) bool { return tileKeys.MatchString(key) })
	for key, c := range h.Header {
		if !strings.HasPrefix(key, "Z") || !tileKeys.MatchString(key) {
			continue
		}
		name := ""
		switch as := key[1:]; {
		case key == "ZTENSION":
			name = "XTENSION"
		case key == "ZHECKSUM":
			name = "CHECKSUM"
		case as == "SIMPLE" || as == "BITPIX" || as == "EXTEND" || as == "BLOCKED" || as == "PCOUNT" || as == "GCOUNT" || as == "DATASUM" || strings.HasPrefix(as, "NAXIS"):
			name = as
		}
		if name != "" {
			c.Key = name
			out[name] = c
		}
	}
	return out
}
