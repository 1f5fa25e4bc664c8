package fits

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
	"lenskit/tools/internal/term"
)

// Image is an array of a FITS file with its scaling applied: value = BZERO + BSCALE * stored, NaN where an integer
// equals BLANK.
type Image struct {
	Path   string // the file, without [EXT]
	HDU    int    // 0 is the primary one
	Name   string // EXTNAME
	Axes   []int  // NAXIS1 (fastest), NAXIS2, ...
	Pix    []float64
	Header Header
	SHA256 string // of the file's bytes, where it was asked for
	Notice string // which image of several was taken without being named
}

// Limits on what is read at all.
const (
	Block            = 2880
	fitsMaxBlocks    = 4096      // of one header: 147,456 cards
	MaxHDUs          = 4096      // of one file
	fitsMaxGzip      = 1 << 30   // bytes of a file packed with gzip,
	fitsMaxUnpacked  = 256 << 20 // and with what takes longer to unpack
	fitsMaxDimension = 999       // NAXIS, as the standard says
	fitsMaxBeyond    = 256 << 20 // bytes that an array in memory may have more than its file
	fitsMaxArray     = 4 << 30   // bytes of an array in memory
)

// Read reads the array that ref names: PATH or PATH[EXT], see pick. Tile-compressed images are read like others, and
// files packed with gzip, bzip2 or xz are unpacked on the fly.
func Read(ref string) (*Image, error) { return Request{}.Read(ref) }

// Request says what is wanted of a file.
type Request struct {
	Role   Role
	Sum    bool                 // fill SHA256
	IsFITS func(w, h int) error // judges the size of a plane before its pixels are read; nil: any
}

func (q Request) Read(ref string) (*Image, error) {
	h, data, notice, err := q.Open(ref)
	if err != nil {
		return nil, err
	}
	defer data.Close()
	if axes, ok := planeAxes(h.Shape()); ok && q.IsFITS != nil {
		if err := q.IsFITS(axes[0], axes[1]); err != nil {
			return nil, err
		}
	}
	m, err := h.Read(data)
	if err != nil {
		return nil, err
	}
	m.Notice = notice
	if q.Sum {
		m.SHA256, err = data.sum()
	}
	return m, err
}

// Open opens the file and picks the image; the notice says which of several was taken without being named.
func (q Request) Open(ref string) (h *HDU, data *Data, notice string, err error) {
	path, ext := SplitExtension(ref)
	hdus, data, err := Open(path)
	if err != nil {
		return nil, nil, "", err
	}
	if h, notice, err = q.Role.pick(path, ext, hdus); err != nil {
		data.Close()
		return nil, nil, "", err
	}
	return h, data, notice, nil
}

// EachPlane calls begin with the number and the size of the planes of an image or a cube, and then add with the pixels of
// each, which are its own to keep.
func (q Request) EachPlane(ref string, begin func(n, w, h int) error, add func(i int, pix []float64)) (notice string, err error) {
	h, data, notice, err := q.Open(ref)
	if err != nil {
		return "", err
	}
	defer data.Close()
	axes := h.Shape()
	if h.TileErr == nil && (len(axes) < 2 || len(axes) > 3) {
		return "", term.BadInput("%s: found an array of %s, expected an image or a cube of images", ref, ShapeText(axes))
	}
	i, size := 0, 0
	var plane []float64
	return notice, cmp.Or(h.Each(data, 0, func(pix []float64) {
		if size == 0 {
			n := 1
			if len(axes) == 3 {
				n = axes[2]
			}
			size = axes[0] * axes[1]
			if size > fitsMaxBeyond/8 {
				err = term.BadInput("%s: found planes of %s, expected at most %d pixels", ref, ShapeText(axes[:2]), fitsMaxBeyond/8)
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

// SplitExtension splits PATH[EXT]. A path that exists as it stands is taken as it stands.
func SplitExtension(ref string) (path, ext string) {
	if _, err := os.Stat(ref); err == nil || !strings.HasSuffix(ref, "]") {
		return ref, ""
	}
	i := strings.LastIndexByte(ref, '[')
	if i <= 0 {
		return ref, ""
	}
	return ref[:i], ref[i+1 : len(ref)-1]
}

// Data is an opened file, unpacked if it was packed.
type Data struct {
	io.ReaderAt
	path   string
	file   *os.File
	Info   os.FileInfo // when it was opened
	packed bool
}

func (d *Data) Close() error { return d.file.Close() }

// Size is the length of what ReaderAt reads; of a packed file it is not known before its end.
func (d *Data) Size() int64 {
	if d.packed {
		return math.MaxInt64
	}
	return d.Info.Size()
}

// sum is the SHA-256 of the file's bytes in hexadecimal, and an error when these changed since the file was opened.
func (d *Data) sum() (string, error) {
	h := sha256.New()
	_, err := io.Copy(h, io.NewSectionReader(d.file, 0, d.Info.Size()))
	now, serr := d.file.Stat()
	if err := cmp.Or(err, serr); err != nil {
		return "", &disk.ReadError{Path: d.path, Err: err}
	}
	if now.Size() != d.Info.Size() || !now.ModTime().Equal(d.Info.ModTime()) {
		return "", term.BadInput("%s: was changed while it was read", d.path)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// Open opens path and walks its headers. The walk ends without error at data that runs past the end of the file:
// only the HDU it belongs to is unusable.
func Open(path string) ([]HDU, *Data, error) {
	f, size, err := disk.Open(path)
	if err != nil {
		return nil, nil, term.BadInput("%w, expected a FITS file", err)
	}
	data := &Data{path: path, file: f}
	var hdus []HDU
	if data.Info, err = f.Stat(); err == nil {
		if size == 0 {
			err = fmt.Errorf("is empty, expected a FITS file")
		} else if data.ReaderAt, data.packed, err = unpack(f); err == nil {
			hdus, err = walkFITS(data, data.Size())
		}
	}
	if err != nil {
		f.Close()
		return nil, nil, term.BadInput("%s: %s", path, term.Reason(err))
	}
	return hdus, data, nil
}

// HDU is one header with the place of its data.
type HDU struct {
	Index  int
	Header Header
	bitpix int
	axes   []int // of the data as they stand in the file: of a table where the image is tile-compressed
	start  int64 // of the data
	left   int64 // bytes from start to the end of the file, as far as that is known
	tiles  *fitsTiles
	// TileErr is why the tiles cannot be read.
	TileErr error
}

// walkFITS reads the headers of a file of the given size.
func walkFITS(r io.ReaderAt, size int64) ([]HDU, error) {
	var hdus []HDU
	for at := int64(0); at < size && len(hdus) < MaxHDUs; {
		header, n, err := readHeader(r, at, size)
		if errors.As(err, new(noHeader)) && len(hdus) > 0 {
			break // what follows the last HDU is no HDU: the standard calls it special records
		}
		if v := header.Text("SIMPLE"); err == nil && at == 0 && v != "T" {
			err = fmt.Errorf("is not a standard FITS file: found SIMPLE = %.40s, expected T", v)
		}
		if err != nil {
			return nil, err
		}
		h := HDU{Index: len(hdus), Header: header, start: at + n, left: max(0, size-at-n)}
		bytes, err := h.layout()
		if err == nil && h.isTiled() {
			h.tiles, h.TileErr = h.tileLayout()
		}
		if err != nil {
			return nil, fmt.Errorf("HDU %d: %w", h.Index, err)
		}
		hdus = append(hdus, h)
		if bytes > size-h.start {
			break
		}
		at = h.start + (bytes+Block-1)/Block*Block
	}
	return hdus, nil
}

// fitsBitpix are the types of pixels: integers of so many bits, or floating-point numbers where it is negative.
var fitsBitpix = []int{8, 16, 32, 64, -32, -64}

// layout reads BITPIX and the axes and returns the size of the data in bytes, math.MaxInt64 where it is beyond all
// bounds.
func (h *HDU) layout() (int64, error) {
	bitpix, err := h.Header.needed("BITPIX")
	if err != nil {
		return 0, err
	}
	if !slices.Contains(fitsBitpix, int(bitpix)) {
		return 0, fmt.Errorf("found BITPIX = %d, expected 8, 16, 32, 64, -32 or -64", bitpix)
	}
	naxis, err := h.Header.needed("NAXIS")
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
		v, err := h.Header.needed(key)
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
	pcount, _, _ := h.Header.integer("PCOUNT")
	gcount, ok, _ := h.Header.integer("GCOUNT")
	if !ok {
		gcount = 1
	}
	if h.isArray() {
		pcount, gcount = 0, 1 // as the standard demands of arrays
	}
	n = max(0, n+min(max(0, pcount), math.MaxInt64-n))
	return times(times(n, max(0, gcount)), int64(Abs(h.bitpix)/8)), nil
}

// times multiplies non-negative numbers, saturating.
func times(a, b int64) int64 {
	if a != 0 && b > math.MaxInt64/a {
		return math.MaxInt64
	}
	return a * b
}

func Abs(v int) int { return max(v, -v) }

// isGroups tells whether the HDU holds random groups, the format of old radio data.
func (h *HDU) isGroups() bool {
	return h.Index == 0 && h.Header.Text("GROUPS") == "T"
}

// isArray tells whether the HDU's data are an array (which may have no pixels).
func (h *HDU) isArray() bool {
	if h.Index == 0 {
		return !h.isGroups()
	}
	v := h.Header.Text("XTENSION")
	return v == "IMAGE" || v == "IUEIMAGE"
}

// isTiled tells whether the HDU is a table that holds a compressed image.
func (h *HDU) isTiled() bool {
	return h.Header.Text("ZIMAGE") == "T" && h.Header.Text("XTENSION") == "BINTABLE"
}

// IsImage tells whether the HDU holds an image, compressed or not (which may have no pixels).
func (h *HDU) IsImage() bool { return h.isArray() || h.isTiled() }

// Shape is the image's axes.
func (h *HDU) Shape() []int {
	if h.tiles != nil {
		return h.tiles.axes
	}
	return h.axes
}

// Size is the number of the image's pixels; 0 for an array without axes.
func (h *HDU) Size() int64 {
	axes := h.Shape()
	switch {
	case h.TileErr != nil:
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

// Describe says in words what the HDU holds.
func (h *HDU) Describe() string {
	switch {
	case h.isGroups():
		return "random groups"
	case h.IsImage() && h.Size() == 0:
		return "an array without pixels"
	case h.IsImage():
		return "an image"
	}
	v := h.Header.Text("XTENSION")
	switch v {
	case "BINTABLE", "A3DTABLE":
		return "a binary table"
	case "TABLE":
		return "a text table"
	}
	return fmt.Sprintf("an extension of type %q", v)
}

// Name is the EXTNAME.
func (h *HDU) Name() string { return h.Header.Text("EXTNAME") }

// Read reads the pixels.
func (h *HDU) Read(d *Data) (*Image, error) {
	m := &Image{Path: d.path, HDU: h.Index, Name: h.Name(), Axes: h.Shape(), Header: h.imageHeader()}
	at := 0
	err := h.Each(d, 8, func(pix []float64) {
		switch n := int(h.Size()); {
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

// Each calls add with the pixels of the image, some at a time, unless they would take, at so many bytes a pixel, more
// memory than the file's size allows. What the last call gets is the caller's.
func (h *HDU) Each(d *Data, bytes int64, add func(pix []float64)) error {
	path := d.path
	fail := func(err error) error { return term.BadInput("%s: HDU %d: %s", path, h.Index, term.Reason(err)) }
	if h.TileErr != nil {
		return fail(fmt.Errorf("compressed image: %w", h.TileErr))
	}
	need, have := times(h.Size(), bytes), min(fitsMaxArray, d.Info.Size()+fitsMaxBeyond)
	if h.tiles != nil {
		need = min(times(h.Size(), max(bytes, 12)), math.MaxInt64/2) + h.tiles.memory()
	}
	if need > have && (h.tiles != nil || h.left >= times(h.Size(), int64(Abs(h.bitpix)/8))) {
		return fail(fmt.Errorf("found %s, %s in memory, expected at most %s of a file of %s", ShapeText(h.Shape()), disk.Size(need), disk.Size(have), disk.Size(d.Info.Size())))
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
	n, width := h.Size(), int64(Abs(h.bitpix)/8)
	if whole := times(n, width); whole > h.left {
		return term.BadInput("%s: HDU %d is truncated: found %d bytes of data, expected %d for %s", path, h.Index, h.left, whole, ShapeText(h.axes))
	}
	raw, pix := make([]byte, min(n, fitsChunk)*width), make([]float64, min(n, fitsChunk))
	for at := int64(0); at < n; {
		k := min(n-at, fitsChunk)
		got, err := d.ReadAt(raw[:k*width], h.start+at*width)
		if err == io.EOF && int64(got) < k*width {
			return term.BadInput("%s: HDU %d is truncated: found %d bytes of data, expected %d for %s", path, h.Index, at*width+int64(got), n*width, ShapeText(h.axes))
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

// Plane returns width, height and pixels of a two-dimensional image; see planeAxes.
func (m *Image) Plane() (w, h int, pix []float64, err error) {
	axes, ok := planeAxes(m.Axes)
	if !ok {
		return 0, 0, nil, term.BadInput("%s: HDU %d: found an array of %s, expected an image of two axes", m.Path, m.HDU, ShapeText(m.Axes))
	}
	return axes[0], axes[1], m.Pix, nil
}

// ShapeText writes axes as 256 x 256.
func ShapeText(axes []int) string {
	var s []string
	for _, a := range axes {
		s = append(s, strconv.Itoa(a))
	}
	if len(s) == 1 {
		return s[0] + " values"
	}
	return strings.Join(s, " x ")
}
