package tools

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"

	"github.com/astrogo/fitsio"

	"lenskit/internal/disk"
)

// fitsImage is an array of a FITS file with its scaling applied: value = BZERO + BSCALE * stored, NaN where an integer
// equals BLANK.
type fitsImage struct {
	Path   string // the file, without [EXT]
	HDU    int    // 0 is the primary one
	Name   string // EXTNAME
	Axes   []int  // NAXIS1 (fastest), NAXIS2, ...
	Pix    []float64
	Header fitsHeader
}

// Limits on what is read at all. A header of more blocks, or a compressed file that unpacks to more, is refused.
const (
	fitsBlock        = 2880
	fitsMaxBlocks    = 4096    // of one header: 147,456 cards
	fitsMaxHDUs      = 4096    // of one file
	fitsMaxUnpacked  = 1 << 30 // bytes
	fitsMaxDimension = 999     // NAXIS, as the standard says
)

// readFITS reads the array that ref names: PATH, or PATH[EXT] with EXT the number of the HDU (0 is the primary) or its
// EXTNAME in any letter case. Without EXT it is the first HDU that holds an array with pixels. Files packed with gzip or
// bzip2 are unpacked on the fly; tile-compressed images are refused.
func readFITS(ref string) (*fitsImage, error) {
	path, ext := splitExtension(ref)
	hdus, data, err := openFITS(path)
	if err != nil {
		return nil, err
	}
	defer data.Close()
	h, err := pickHDU(path, ext, hdus)
	if err != nil {
		return nil, err
	}
	return h.read(path, data)
}

// splitExtension splits PATH[EXT]. A path that exists as it stands is taken as it stands.
func splitExtension(ref string) (path, ext string) {
	if _, err := os.Stat(ref); err == nil || !strings.HasSuffix(ref, "]") {
		return ref, ""
	}
	i := strings.LastIndexByte(ref, '[')
	if i <= 0 {
		return ref, ""
	}
	return ref[:i], ref[i+1 : len(ref)-1]
}

// fitsData is an opened file, unpacked if it was packed.
type fitsData struct {
	io.ReaderAt
	size  int64
	close func() error
}

func (d *fitsData) Close() error { return d.close() }

// openFITS opens path and walks its headers. The walk ends without error at data that runs past the end of the file:
// only the HDU it belongs to is unusable.
func openFITS(path string) ([]fitsHDU, *fitsData, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, badInput("%s: %s", path, reason(err))
	}
	data, err := unpack(f)
	if err != nil {
		f.Close()
		return nil, nil, badInput("%s: %w", path, err)
	}
	hdus, err := walkFITS(data, data.size)
	if err != nil {
		data.Close()
		return nil, nil, badInput("%s: %w", path, err)
	}
	return hdus, data, nil
}

// reason is the cause of a file error without the operation and the path.
func reason(err error) string { return disk.Reason(err) }

// unpack recognises packed files by their first bytes.
func unpack(f *os.File) (*fitsData, error) {
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, errors.New(reason(err))
	case info.IsDir():
		return nil, errors.New("is a folder, expected a FITS file")
	case !info.Mode().IsRegular():
		return nil, errors.New("is not a regular file, expected a FITS file")
	case info.Size() == 0:
		return nil, errors.New("is empty, expected a FITS file")
	}
	var magic [3]byte
	n, err := f.ReadAt(magic[:], 0)
	if err != nil && err != io.EOF {
		return nil, errors.New(reason(err))
	}
	var r io.Reader
	var kind string
	switch head := magic[:n]; {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		kind = "gzip"
		r, err = gzip.NewReader(bufio.NewReader(f))
		if err != nil {
			return nil, fmt.Errorf("damaged gzip file: %w", err)
		}
	case bytes.HasPrefix(head, []byte("BZh")):
		kind = "bzip2"
		r = bzip2.NewReader(bufio.NewReader(f))
	case bytes.HasPrefix(head, []byte{0x1f, 0x9d}):
		return nil, errors.New("is packed with compress (.Z), which is not read: unpack it with uncompress")
	default:
		return &fitsData{f, info.Size(), f.Close}, nil
	}
	b, err := io.ReadAll(io.LimitReader(r, fitsMaxUnpacked+1))
	if err != nil {
		return nil, fmt.Errorf("damaged %s file: %w", kind, err)
	}
	if len(b) > fitsMaxUnpacked {
		return nil, fmt.Errorf("unpacks to more than %d MB: unpack it first", fitsMaxUnpacked>>20)
	}
	return &fitsData{bytes.NewReader(b), int64(len(b)), f.Close}, nil
}

// fitsHDU is one header with the place of its data.
type fitsHDU struct {
	index  int
	header fitsHeader
	bitpix int
	axes   []int
	start  int64 // of the data
	left   int64 // bytes from start to the end of the file
}

// walkFITS reads the headers of a file of the given size.
func walkFITS(r io.ReaderAt, size int64) ([]fitsHDU, error) {
	var hdus []fitsHDU
	for at := int64(0); at < size && len(hdus) < fitsMaxHDUs; {
		header, n, err := readHeader(r, at, size)
		if err != nil && len(hdus) > 0 {
			break // what follows the last HDU is no HDU: the standard calls it special records
		}
		if v := header.text("SIMPLE"); err == nil && at == 0 && v != "T" {
			err = fmt.Errorf("is not a standard FITS file: found SIMPLE = %.40s, expected T", v)
		}
		if err != nil {
			return nil, err
		}
		h := fitsHDU{index: len(hdus), header: header, start: at + n, left: max(0, size-at-n)}
		bytes, err := h.layout()
		if err != nil {
			return nil, fmt.Errorf("HDU %d: %w", h.index, err)
		}
		hdus = append(hdus, h)
		if bytes > size-h.start {
			break
		}
		at = h.start + (bytes+fitsBlock-1)/fitsBlock*fitsBlock
	}
	return hdus, nil
}

// layout reads BITPIX and the axes and returns the size of the data in bytes, math.MaxInt64 where it is beyond all
// bounds.
func (h *fitsHDU) layout() (int64, error) {
	bitpix, err := h.header.needed("BITPIX")
	if err != nil {
		return 0, err
	}
	switch bitpix {
	case 8, 16, 32, 64, -32, -64:
	default:
		return 0, fmt.Errorf("found BITPIX = %d, expected 8, 16, 32, 64, -32 or -64", bitpix)
	}
	naxis, err := h.header.needed("NAXIS")
	if err != nil {
		return 0, err
	}
	if naxis < 0 || naxis > fitsMaxDimension {
		return 0, fmt.Errorf("found NAXIS = %d, expected 0 to %d", naxis, fitsMaxDimension)
	}
	h.bitpix = int(bitpix)
	n := int64(1)
	for i := 1; i <= int(naxis); i++ {
		key := "NAXIS" + strconv.Itoa(i)
		v, err := h.header.needed(key)
		if err != nil {
			return 0, err
		}
		if v < 0 {
			return 0, fmt.Errorf("found %s = %d, expected a length of 0 or more", key, v)
		}
		h.axes = append(h.axes, int(v))
		if i > 1 || v != 0 || !h.isGroups() {
			n = times(n, v)
		}
	}
	if naxis == 0 {
		n = 0
	}
	pcount, _, _ := h.header.integer("PCOUNT")
	gcount, ok, _ := h.header.integer("GCOUNT")
	if !ok {
		gcount = 1
	}
	if !h.isGroups() && h.isImage() {
		pcount, gcount = 0, 1 // as the standard demands of arrays
	}
	n = max(0, n+min(max(0, pcount), math.MaxInt64-n))
	return times(times(n, max(0, gcount)), int64(abs(h.bitpix)/8)), nil
}

// times multiplies non-negative numbers, saturating.
func times(a, b int64) int64 {
	if a != 0 && b > math.MaxInt64/a {
		return math.MaxInt64
	}
	return a * b
}

func abs(v int) int { return max(v, -v) }

// isGroups tells whether the HDU holds random groups, the format of old radio data.
func (h *fitsHDU) isGroups() bool {
	return h.index == 0 && h.header.text("GROUPS") == "T"
}

// isImage tells whether the HDU holds an array (which may have no pixels).
func (h *fitsHDU) isImage() bool {
	if h.index == 0 {
		return !h.isGroups()
	}
	v := h.header.text("XTENSION")
	return v == "IMAGE" || v == "IUEIMAGE"
}

// isTiled tells whether the HDU is a table that holds a compressed image.
func (h *fitsHDU) isTiled() bool { return h.header.text("ZIMAGE") == "T" }

// size is the number of pixels; 0 for an array without axes.
func (h *fitsHDU) size() int64 {
	if len(h.axes) == 0 {
		return 0
	}
	n := int64(1)
	for _, a := range h.axes {
		n = times(n, int64(a))
	}
	return n
}

// describe says in words what the HDU holds.
func (h *fitsHDU) describe() string {
	switch {
	case h.isGroups():
		return "random groups"
	case h.isTiled():
		return "a tile-compressed image"
	case h.isImage() && h.size() == 0:
		return "an array without pixels"
	case h.isImage():
		return "an image"
	}
	v := h.header.text("XTENSION")
	switch v {
	case "BINTABLE", "A3DTABLE":
		return "a binary table"
	case "TABLE":
		return "a text table"
	}
	return fmt.Sprintf("an extension of type %q", v)
}

// pickHDU finds the HDU that ext names; the first with pixels when ext is empty.
func pickHDU(path, ext string, hdus []fitsHDU) (*fitsHDU, error) {
	if ext == "" {
		for i := range hdus {
			if hdus[i].isImage() && hdus[i].size() > 0 {
				return &hdus[i], nil
			}
		}
		for i := range hdus {
			if hdus[i].isTiled() {
				return nil, tiled(path, &hdus[i])
			}
		}
		last := &hdus[len(hdus)-1]
		return nil, badInput("%s: holds no image: found %s in HDU %d", path, last.describe(), last.index)
	}
	var h *fitsHDU
	if n, err := strconv.Atoi(ext); err == nil {
		if n < 0 || n >= len(hdus) {
			return nil, badInput("%s[%s]: no such HDU: found %d, numbered from 0", path, ext, len(hdus))
		}
		h = &hdus[n]
	} else {
		var names []string
		for i := range hdus {
			name := hdus[i].name()
			if strings.EqualFold(name, ext) && h == nil {
				h = &hdus[i]
			}
			if name != "" {
				names = append(names, name)
			}
		}
		if h == nil {
			return nil, badInput("%s[%s]: no such extension: found %s%s", path, ext, cmp.Or(strings.Join(names, ", "), "none with a name"), didYouMean(ext, names))
		}
	}
	switch {
	case h.isTiled():
		return nil, tiled(path, h)
	case !h.isImage() || h.size() == 0:
		return nil, badInput("%s[%s]: is not an image: found %s", path, ext, h.describe())
	}
	return h, nil
}

func tiled(path string, h *fitsHDU) error {
	return withHint(badInput("%s: HDU %d holds a tile-compressed image, which is not read", path, h.index), "funpack unpacks it")
}

// name is the EXTNAME.
func (h *fitsHDU) name() string { return h.header.text("EXTNAME") }

// read reads the pixels.
func (h *fitsHDU) read(path string, r io.ReaderAt) (_ *fitsImage, err error) {
	defer func() { // fitsio panics where it meets what it does not expect
		if r := recover(); r != nil {
			err = badInput("%s: HDU %d: cannot be decoded: %v", path, h.index, r)
		}
	}()
	n, width := h.size(), int64(abs(h.bitpix)/8)
	if need := times(n, width); need > h.left {
		return nil, badInput("%s: HDU %d is truncated: found %d bytes of data, expected %d for %s", path, h.index, h.left, need, shapeText(h.axes))
	}
	scale, errScale := h.header.number("BSCALE", 1)
	zero, errZero := h.header.number("BZERO", 0)
	blank, hasBlank, errBlank := h.header.integer("BLANK")
	if err := cmp.Or(errScale, errZero, errBlank); err != nil {
		return nil, badInput("%s: HDU %d: %w", path, h.index, err)
	}
	img := &fitsImage{Path: path, HDU: h.index, Name: h.name(), Axes: h.axes, Header: h.header, Pix: make([]float64, n)}
	src := bufio.NewReaderSize(io.NewSectionReader(r, h.start, n*width), 1<<16)
	isBlank := func(v int64) bool { return hasBlank && v == blank }
	switch h.bitpix {
	case 8:
		err = decodePixels[uint8](img.Pix, h.bitpix, src, isBlank)
	case 16:
		err = decodePixels[int16](img.Pix, h.bitpix, src, isBlank)
	case 32:
		err = decodePixels[int32](img.Pix, h.bitpix, src, isBlank)
	case 64:
		err = decodePixels[int64](img.Pix, h.bitpix, src, isBlank)
	case -32:
		err = decodePixels[float32](img.Pix, h.bitpix, src, nil)
	case -64:
		err = decodePixels[float64](img.Pix, h.bitpix, src, nil)
	}
	if err != nil {
		return nil, badInput("%s: HDU %d: %s", path, h.index, reason(err))
	}
	if scale != 1 || zero != 0 {
		for i, v := range img.Pix {
			img.Pix[i] = zero + scale*v
		}
	}
	return img, nil
}

// fitsChunk is how many pixels are decoded or encoded at a time.
const fitsChunk = 1 << 15

// decodePixels fills pix from the big-endian numbers of r, of the type T that bitpix names; NaN stands where isBlank, if
// there is one, says so.
func decodePixels[T uint8 | int16 | int32 | int64 | float32 | float64](pix []float64, bitpix int, r io.Reader, isBlank func(int64) bool) error {
	chunk := make([]T, min(len(pix), fitsChunk))
	for len(pix) > 0 {
		chunk = chunk[:min(len(pix), len(chunk))]
		img := fitsio.NewImage(bitpix, []int{len(chunk)})
		if err := img.Write(chunk); err != nil { // makes the room that Raw gives
			return err
		}
		if _, err := io.ReadFull(r, img.Raw()); err != nil {
			return err
		}
		if err := img.Read(&chunk); err != nil {
			return err
		}
		for i, v := range chunk {
			pix[i] = float64(v)
			if isBlank != nil && isBlank(int64(v)) {
				pix[i] = math.NaN()
			}
		}
		pix = pix[len(chunk):]
	}
	return nil
}

// plane returns width, height and pixels of a two-dimensional image; axes of length 1 beyond the second are dropped.
func (m *fitsImage) plane() (w, h int, pix []float64, err error) {
	axes := m.Axes
	for len(axes) > 2 && axes[len(axes)-1] == 1 {
		axes = axes[:len(axes)-1]
	}
	if len(axes) != 2 {
		return 0, 0, nil, badInput("%s: HDU %d: found an array of %s, expected an image of two axes", m.Path, m.HDU, shapeText(m.Axes))
	}
	return axes[0], axes[1], m.Pix, nil
}

// shapeText writes axes as 256 x 256.
func shapeText(axes []int) string {
	var s []string
	for _, a := range axes {
		s = append(s, strconv.Itoa(a))
	}
	if len(s) == 1 {
		return s[0] + " values"
	}
	return strings.Join(s, " x ")
}
