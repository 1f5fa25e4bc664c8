package fits

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/ulikunitz/xz"
	"lenskit/tools/internal/term"
)

// unpack recognises packed files by their first bytes. What it returns for one reads on from where it is and begins anew
// to go back, so that no more than a window is ever in memory.
func unpack(f *os.File) (r io.ReaderAt, packed bool, err error) {
	var magic [6]byte
	n, err := f.ReadAt(magic[:], 0)
	if err != nil && err != io.EOF {
		return nil, false, err
	}
	u := &unpacker{file: f, most: fitsMaxUnpacked}
	switch head := magic[:n]; {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		u.kind, u.most, u.open = "gzip", fitsMaxGzip, func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }
	case bytes.HasPrefix(head, []byte("BZh")):
		u.kind, u.open = "bzip2", func(r io.Reader) (io.Reader, error) { return bzip2.NewReader(r), nil }
	case bytes.HasPrefix(head, []byte("\xfd7zXZ\x00")):
		if err := checkXZ(f); err != nil {
			return nil, false, err
		}
		u.kind, u.open = "xz", func(r io.Reader) (io.Reader, error) { return xz.NewReader(r) }
	case bytes.HasPrefix(head, []byte{0x1f, 0x9d}):
		return nil, false, errors.New("is packed with compress (.Z), which is not read: unpack it with uncompress")
	default:
		return f, false, nil
	}
	return u, true, nil
}

// unpacker is the io.ReaderAt of a packed file.
type unpacker struct {
	file *os.File
	kind string
	most int64 // bytes that are unpacked
	open func(io.Reader) (io.Reader, error)
	r    io.Reader
	at   int64 // of r
}

func (u *unpacker) ReadAt(p []byte, at int64) (n int, err error) {
	if at > u.most-int64(len(p)) {
		return 0, fmt.Errorf("unpacks to more than %d MB: unpack it first", u.most>>20)
	}
	if u.r == nil || at < u.at {
		r, err := u.open(bufio.NewReader(io.NewSectionReader(u.file, 0, 1<<62)))
		if err != nil {
			return 0, u.damaged(err)
		}
		u.r, u.at = r, 0
	}
	k, err := io.CopyN(io.Discard, u.r, at-u.at)
	u.at += k
	for n < len(p) && err == nil {
		var k int
		k, err = u.r.Read(p[n:])
		n += k
	}
	u.at += int64(n)
	if n == len(p) {
		err = nil
	}
	return n, u.damaged(err)
}

// damaged names the packing in errors other than that of the proper end.
func (u *unpacker) damaged(err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return fmt.Errorf("damaged %s file: %s", u.kind, term.Reason(err))
}
