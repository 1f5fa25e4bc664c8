package tools

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"strconv"
	"strings"
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
func reason(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	return strings.ToLower(err.Error()[:1]) + err.Error()[1:]
}

// unpack recognises packed files by their first bytes.
func unpack(f *os.File) (*fitsData, error) {
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, errors.New(reason(err))
	case info.IsDir():
		return nil, errors.New("is a folder, expected a FITS file")
	case info.Size() == 0 && info.Mode().IsRegular():
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
		if err == nil {
			err = startsHDU(&header, len(hdus) == 0)
		}
		if err != nil {
			if len(hdus) > 0 {
				break // what follows the last HDU is no HDU: the standard calls it special records
			}
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

// startsHDU checks the first keyword of a header.
func startsHDU(h *fitsHeader, primary bool) error {
	if len(h.cards) == 0 {
		return errors.New("is not a FITS file: empty header")
	}
	switch first := h.cards[0]; {
	case !primary && first.key == "XTENSION":
		return nil
	case !primary:
		return errors.New("not an extension")
	case first.key != "SIMPLE" && !h.has("SIMPLE"):
		return fmt.Errorf("is not a FITS file: found %q at its start, expected SIMPLE", first.key)
	}
	if v, _ := h.text("SIMPLE"); v != "T" {
		return fmt.Errorf("is not a standard FITS file: found SIMPLE = %s, expected T", v)
	}
	return nil
}

// layout reads BITPIX and the axes and returns the size of the data in bytes, math.MaxInt64 where it is beyond all
// bounds.
func (h *fitsHDU) layout() (int64, error) {
	bitpix, ok, err := h.header.integer("BITPIX")
	if err != nil || !ok {
		return 0, orMissing(err, "BITPIX")
	}
	switch bitpix {
	case 8, 16, 32, 64, -32, -64:
	default:
		return 0, fmt.Errorf("found BITPIX = %d, expected 8, 16, 32, 64, -32 or -64", bitpix)
	}
	naxis, ok, err := h.header.integer("NAXIS")
	if err != nil || !ok {
		return 0, orMissing(err, "NAXIS")
	}
	if naxis < 0 || naxis > fitsMaxDimension {
		return 0, fmt.Errorf("found NAXIS = %d, expected 0 to %d", naxis, fitsMaxDimension)
	}
	h.bitpix = int(bitpix)
	n := int64(1)
	for i := 1; i <= int(naxis); i++ {
		key := "NAXIS" + strconv.Itoa(i)
		v, ok, err := h.header.integer(key)
		if err != nil || !ok {
			return 0, orMissing(err, key)
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

// orMissing is err, or the error of a keyword that is not there.
func orMissing(err error, key string) error {
	if err != nil {
		return err
	}
	return fmt.Errorf("missing keyword %s", key)
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
	v, _ := h.header.text("GROUPS")
	return v == "T" && h.index == 0
}

// isImage tells whether the HDU holds an array (which may have no pixels).
func (h *fitsHDU) isImage() bool {
	if h.index == 0 {
		return !h.isGroups()
	}
	v, _ := h.header.text("XTENSION")
	return v == "IMAGE" || v == "IUEIMAGE"
}

// isTiled tells whether the HDU is a table that holds a compressed image.
func (h *fitsHDU) isTiled() bool {
	v, _ := h.header.text("ZIMAGE")
	return v == "T"
}

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
	v, _ := h.header.text("XTENSION")
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
			return nil, badInput("%s[%s]: no such extension: found %s%s", path, ext, orNone(strings.Join(names, ", ")), didYouMean(ext, names))
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

func orNone(s string) string {
	if s == "" {
		return "none with a name"
	}
	return s
}

// name is the EXTNAME.
func (h *fitsHDU) name() string {
	v, _ := h.header.text("EXTNAME")
	return v
}

// read reads the pixels.
func (h *fitsHDU) read(path string, r io.ReaderAt) (*fitsImage, error) {
	n, width := h.size(), int64(abs(h.bitpix)/8)
	if need := times(n, width); need > h.left {
		return nil, badInput("%s: HDU %d is truncated: found %d bytes of data, expected %d for %s", path, h.index, h.left, need, shapeText(h.axes))
	}
	scale, err := h.header.number("BSCALE", 1)
	if err != nil {
		return nil, badInput("%s: HDU %d: %w", path, h.index, err)
	}
	zero, err := h.header.number("BZERO", 0)
	if err != nil {
		return nil, badInput("%s: HDU %d: %w", path, h.index, err)
	}
	blank, hasBlank, err := h.header.integer("BLANK")
	if err != nil {
		return nil, badInput("%s: HDU %d: %w", path, h.index, err)
	}
	img := &fitsImage{Path: path, HDU: h.index, Name: h.name(), Axes: h.axes, Header: h.header, Pix: make([]float64, n)}
	buf := bufio.NewReaderSize(io.NewSectionReader(r, h.start, n*width), 1<<16)
	var word [8]byte
	for i := range img.Pix {
		if _, err := io.ReadFull(buf, word[:width]); err != nil {
			return nil, badInput("%s: HDU %d: %s", path, h.index, reason(err))
		}
		var k int64
		switch h.bitpix {
		case -32:
			img.Pix[i] = float64(math.Float32frombits(binary.BigEndian.Uint32(word[:])))
		case -64:
			img.Pix[i] = math.Float64frombits(binary.BigEndian.Uint64(word[:]))
		case 8:
			k = int64(word[0])
		case 16:
			k = int64(int16(binary.BigEndian.Uint16(word[:])))
		case 32:
			k = int64(int32(binary.BigEndian.Uint32(word[:])))
		case 64:
			k = int64(binary.BigEndian.Uint64(word[:]))
		}
		if h.bitpix > 0 {
			img.Pix[i] = float64(k)
			if hasBlank && k == blank {
				img.Pix[i] = math.NaN()
			}
		}
		if scale != 1 || zero != 0 {
			img.Pix[i] = zero + scale*img.Pix[i]
		}
	}
	return img, nil
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
