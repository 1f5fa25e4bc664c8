package tools

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

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
	SHA256 string // of the file's bytes, where it was asked for
	Notice string // which image of several was taken without being named
}

// Limits on what is read at all.
const (
	fitsBlock        = 2880
	fitsMaxBlocks    = 4096      // of one header: 147,456 cards
	fitsMaxHDUs      = 4096      // of one file
	fitsMaxGzip      = 1 << 30   // bytes of a file packed with gzip,
	fitsMaxUnpacked  = 256 << 20 // and with what takes longer to unpack
	fitsMaxDimension = 999       // NAXIS, as the standard says
	fitsMaxBeyond    = 256 << 20 // bytes that an array in memory may have more than its file
	fitsMaxArray     = 4 << 30   // bytes of an array in memory
)

// readFITS reads the array that ref names: PATH or PATH[EXT], see pick. Tile-compressed images are read like others, and
// files packed with gzip, bzip2 or xz are unpacked on the fly.
func readFITS(ref string) (*fitsImage, error) { return fitsRequest{}.read(ref) }

// fitsRequest says what is wanted of a file.
type fitsRequest struct {
	role fitsRole
	sum  bool                 // fill SHA256
	fits func(w, h int) error // judges the size of a plane before its pixels are read; nil: any
}

func (q fitsRequest) read(ref string) (*fitsImage, error) {
	h, data, notice, err := q.open(ref)
	if err != nil {
		return nil, err
	}
	defer data.Close()
	if axes, ok := planeAxes(h.shape()); ok && q.fits != nil {
		if err := q.fits(axes[0], axes[1]); err != nil {
			return nil, err
		}
	}
	m, err := h.read(data)
	if err != nil {
		return nil, err
	}
	m.Notice = notice
	if q.sum {
		m.SHA256, err = data.sum()
	}
	return m, err
}

// open opens the file and picks the image; the notice says which of several was taken without being named.
func (q fitsRequest) open(ref string) (h *fitsHDU, data *fitsData, notice string, err error) {
	path, ext := splitExtension(ref)
	hdus, data, err := openFITS(path)
	if err != nil {
		return nil, nil, "", err
	}
	if h, notice, err = q.role.pick(path, ext, hdus); err != nil {
		data.Close()
		return nil, nil, "", err
	}
	return h, data, notice, nil
}

// eachPlane calls begin with the number and the size of the planes of an image or a cube, and then add with the pixels of
// each, which are its own to keep.
func (q fitsRequest) eachPlane(ref string, begin func(n, w, h int) error, add func(i int, pix []float64)) (notice string, err error) {
	h, data, notice, err := q.open(ref)
	if err != nil {
		return "", err
	}
	defer data.Close()
	axes := h.shape()
	if h.tileErr == nil && (len(axes) < 2 || len(axes) > 3) {
		return "", badInput("%s: found an array of %s, expected an image or a cube of images", ref, shapeText(axes))
	}
	i, size := 0, 0
	var plane []float64
	return notice, cmp.Or(h.each(data, 0, func(pix []float64) {
		if size == 0 {
			n := 1
			if len(axes) == 3 {
				n = axes[2]
			}
			size = axes[0] * axes[1]
			if size > fitsMaxBeyond/8 {
				err = badInput("%s: found planes of %s, expected at most %d pixels", ref, shapeText(axes[:2]), fitsMaxBeyond/8)
			} else {
				err = begin(n, axes[0], axes[1])
			}
		}
		for err == nil && len(pix) > 0 {
			if plane == nil {
				plane = make([]float64, 0, size)
			}
			k := min(len(pix), size-len(plane))
			plane, pix = append(plane, pix[:k]...), pix[k:]
			if len(plane) == size {
				add(i, plane)
				i, plane = i+1, nil
			}
		}
	}), err)
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
	path   string
	file   *os.File
	info   os.FileInfo // when it was opened
	packed bool
}

func (d *fitsData) Close() error { return d.file.Close() }

// size is the length of what ReaderAt reads; of a packed file it is not known before its end.
func (d *fitsData) size() int64 {
	if d.packed {
		return math.MaxInt64
	}
	return d.info.Size()
}

// sum is the SHA-256 of the file's bytes in hexadecimal, and an error when these changed since the file was opened.
func (d *fitsData) sum() (string, error) {
	h := sha256.New()
	_, err := io.Copy(h, io.NewSectionReader(d.file, 0, d.info.Size()))
	now, serr := d.file.Stat()
	if err := cmp.Or(err, serr); err != nil {
		return "", &disk.ReadError{Path: d.path, Err: err}
	}
	if now.Size() != d.info.Size() || !now.ModTime().Equal(d.info.ModTime()) {
		return "", badInput("%s: was changed while it was read", d.path)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// openFITS opens path and walks its headers. The walk ends without error at data that runs past the end of the file:
// only the HDU it belongs to is unusable.
func openFITS(path string) ([]fitsHDU, *fitsData, error) {
	f, size, err := disk.Open(path)
	if err != nil {
		return nil, nil, badInput("%w, expected a FITS file", err)
	}
	data := &fitsData{path: path, file: f}
	var hdus []fitsHDU
	if data.info, err = f.Stat(); err == nil {
		if size == 0 {
			err = fmt.Errorf("is empty, expected a FITS file")
		} else if data.ReaderAt, data.packed, err = unpack(f); err == nil {
			hdus, err = walkFITS(data, data.size())
		}
	}
	if err != nil {
		f.Close()
		return nil, nil, badInput("%s: %s", path, reason(err))
	}
	return hdus, data, nil
}

// reason is the cause of a file error without the operation and the path.
func reason(err error) string { return disk.Reason(err) }

// fitsHDU is one header with the place of its data.
type fitsHDU struct {
	index  int
	header fitsHeader
	bitpix int
	axes   []int // of the data as they stand in the file: of a table where the image is tile-compressed
	start  int64 // of the data
	left   int64 // bytes from start to the end of the file, as far as that is known
	tiles  *fitsTiles
	// tileErr is why the tiles cannot be read.
	tileErr error
}

// walkFITS reads the headers of a file of the given size.
func walkFITS(r io.ReaderAt, size int64) ([]fitsHDU, error) {
	var hdus []fitsHDU
	for at := int64(0); at < size && len(hdus) < fitsMaxHDUs; {
		header, n, err := readHeader(r, at, size)
		if errors.As(err, new(noHeader)) && len(hdus) > 0 {
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
		if err == nil && h.isTiled() {
			h.tiles, h.tileErr = h.tileLayout()
		}
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

// fitsBitpix are the types of pixels: integers of so many bits, or floating-point numbers where it is negative.
var fitsBitpix = []int{8, 16, 32, 64, -32, -64}

// layout reads BITPIX and the axes and returns the size of the data in bytes, math.MaxInt64 where it is beyond all
// bounds.
func (h *fitsHDU) layout() (int64, error) {
	bitpix, err := h.header.needed("BITPIX")
	if err != nil {
		return 0, err
	}
	if !slices.Contains(fitsBitpix, int(bitpix)) {
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
	if h.isArray() {
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

// isArray tells whether the HDU's data are an array (which may have no pixels).
func (h *fitsHDU) isArray() bool {
	if h.index == 0 {
		return !h.isGroups()
	}
	v := h.header.text("XTENSION")
	return v == "IMAGE" || v == "IUEIMAGE"
}

// isTiled tells whether the HDU is a table that holds a compressed image.
func (h *fitsHDU) isTiled() bool {
	return h.header.text("ZIMAGE") == "T" && h.header.text("XTENSION") == "BINTABLE"
}

// isImage tells whether the HDU holds an image, compressed or not (which may have no pixels).
func (h *fitsHDU) isImage() bool { return h.isArray() || h.isTiled() }

// shape is the image's axes.
func (h *fitsHDU) shape() []int {
	if h.tiles != nil {
		return h.tiles.axes
	}
	return h.axes
}

// size is the number of the image's pixels; 0 for an array without axes.
func (h *fitsHDU) size() int64 {
	axes := h.shape()
	switch {
	case h.tileErr != nil:
		return 1 // the image is there, with an error when it is read
	case len(axes) == 0:
		return 0
	}
	n := int64(1)
	for _, a := range axes {
		n = times(n, int64(a))
	}
	return n
}

// describe says in words what the HDU holds.
func (h *fitsHDU) describe() string {
	switch {
	case h.isGroups():
		return "random groups"
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

// name is the EXTNAME.
func (h *fitsHDU) name() string { return h.header.text("EXTNAME") }

// read reads the pixels.
func (h *fitsHDU) read(d *fitsData) (*fitsImage, error) {
	m := &fitsImage{Path: d.path, HDU: h.index, Name: h.name(), Axes: h.shape(), Header: h.imageHeader()}
	at := 0
	err := h.each(d, 8, func(pix []float64) {
		switch n := int(h.size()); {
		case len(pix) == n:
			m.Pix = pix
		case m.Pix == nil:
			m.Pix = make([]float64, n)
			fallthrough
		default:
			at += copy(m.Pix[at:], pix)
		}
	})
	if err != nil {
		return nil, err
	}
	return m, nil
}

// each calls add with the pixels of the image, some at a time, unless they would take, at so many bytes a pixel, more
// memory than the file's size allows. What the last call gets is the caller's.
func (h *fitsHDU) each(d *fitsData, bytes int64, add func(pix []float64)) error {
	path := d.path
	fail := func(err error) error { return badInput("%s: HDU %d: %s", path, h.index, reason(err)) }
	if h.tileErr != nil {
		return fail(fmt.Errorf("compressed image: %w", h.tileErr))
	}
	need, have := times(h.size(), bytes), min(fitsMaxArray, d.info.Size()+fitsMaxBeyond)
	if h.tiles != nil {
		need = min(times(h.size(), max(bytes, 12)), math.MaxInt64/2) + h.tiles.memory()
	}
	if need > have && (h.tiles != nil || h.left >= times(h.size(), int64(abs(h.bitpix)/8))) {
		return fail(fmt.Errorf("found %s, %s in memory, expected at most %s of a file of %s", shapeText(h.shape()), disk.Size(need), disk.Size(have), disk.Size(d.info.Size())))
	}
	scaling, err := h.scaling()
	if err != nil {
		return fail(err)
	}
	if h.tiles != nil {
		if err := h.tiles.read(d, h, scaling, add); err != nil {
			return fail(err)
		}
		return nil
	}
	n, width := h.size(), int64(abs(h.bitpix)/8)
	if whole := times(n, width); whole > h.left {
		return badInput("%s: HDU %d is truncated: found %d bytes of data, expected %d for %s", path, h.index, h.left, whole, shapeText(h.axes))
	}
	raw, pix := make([]byte, min(n, fitsChunk)*width), make([]float64, min(n, fitsChunk))
	for at := int64(0); at < n; {
		k := min(n-at, fitsChunk)
		got, err := d.ReadAt(raw[:k*width], h.start+at*width)
		if err == io.EOF && int64(got) < k*width {
			return badInput("%s: HDU %d is truncated: found %d bytes of data, expected %d for %s", path, h.index, at*width+int64(got), n*width, shapeText(h.axes))
		} else if err != nil && err != io.EOF {
			return fail(err)
		}
		scaling.decode(pix[:k], raw, h.bitpix)
		add(pix[:k])
		at += k
	}
	return nil
}

// fitsChunk is how many pixels are decoded or encoded at a time.
const fitsChunk = 1 << 15

// planeAxes are the two axes of an image; axes of length 1 beyond the second are dropped.
func planeAxes(axes []int) ([]int, bool) {
	for len(axes) > 2 && axes[len(axes)-1] == 1 {
		axes = axes[:len(axes)-1]
	}
	return axes, len(axes) == 2
}

// plane returns width, height and pixels of a two-dimensional image; see planeAxes.
func (m *fitsImage) plane() (w, h int, pix []float64, err error) {
	axes, ok := planeAxes(m.Axes)
	if !ok {
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
