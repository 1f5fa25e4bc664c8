package fits

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"lenskit/internal/disk"
)

// xzMaxWindow bounds the window of an xz file: that of xz -9, all of which a reader keeps in memory.
const xzMaxWindow = 64 << 20

var errXZ = errors.New("damaged xz file")

// checkXZ reads the indexes at the ends of an xz file's streams, and holds the windows of all blocks and the size of what
// they unpack to against the limits, before anything is unpacked (The .xz File Format 1.2.1, sections 2.1.2, 3.1 and 4).
func checkXZ(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	var total uint64
	for end := info.Size(); end > 0; {
		var word [12]byte
		if end < 32 || end%4 != 0 {
			return errXZ
		}
		if _, err := f.ReadAt(word[:], end-12); err != nil {
			return err
		}
		if bytes.Equal(word[8:], make([]byte, 4)) { // padding between streams
			end -= 4
			continue
		}
		size := (int64(binary.LittleEndian.Uint32(word[4:])) + 1) * 4
		if string(word[10:]) != "YZ" || size > end-24 || size > 16<<20 {
			return errXZ
		}
		index := make([]byte, size)
		if _, err := f.ReadAt(index, end-12-size); err != nil {
			return err
		}
		r := bytes.NewReader(index[1:])
		n, err := binary.ReadUvarint(r)
		if err != nil || index[0] != 0 || n > uint64(size) {
			return errXZ
		}
		at := end - 12 - size
		blocks := make([]int64, n)
		for i := range blocks {
			packed, err := binary.ReadUvarint(r)
			unpacked, err2 := binary.ReadUvarint(r)
			if err != nil || err2 != nil || packed > uint64(at) || unpacked > 1<<62 || total > 1<<62 {
				return errXZ
			}
			blocks[i] = (int64(packed) + 3) / 4 * 4
			total += unpacked
		}
		for i := len(blocks) - 1; i >= 0; i-- {
			if at -= blocks[i]; at < 12 {
				return errXZ
			}
			if err := checkXZBlock(f, at); err != nil {
				return err
			}
		}
		end = at - 12
	}
	if total > fitsMaxUnpacked {
		return fmt.Errorf("unpacks to %s, expected at most %d MB: unpack it first", disk.Size(int64(total)), fitsMaxUnpacked>>20)
	}
	return nil
}

// checkXZBlock holds the window of the block at an offset against the limit. A block has one filter, LZMA2.
func checkXZBlock(f *os.File, at int64) error {
	var b [64]byte
	n, err := f.ReadAt(b[:], at)
	if err != nil && err != io.EOF {
		return err
	}
	r := bytes.NewReader(b[:n])
	r.Seek(1, io.SeekStart)
	flags, err := r.ReadByte()
	if err != nil {
		return errXZ
	}
	for _, bit := range []byte{0x40, 0x80} { // sizes, of which the index tells
		if flags&bit != 0 {
			if _, err := binary.ReadUvarint(r); err != nil {
				return errXZ
			}
		}
	}
	var filter [3]byte
	if _, err := io.ReadFull(r, filter[:]); err != nil {
		return errXZ
	}
	if flags&3 != 0 || filter[0] != 0x21 || filter[1] != 1 {
		return errors.New("is packed with a filter of xz other than LZMA2: unpack it first")
	}
	bits := int(filter[2])
	if bits > 40 {
		return errXZ
	}
	if window := int64(2|bits&1) << (bits/2 + 11); window > xzMaxWindow {
		return fmt.Errorf("has an xz window of %s, expected at most %d MB: unpack it first", disk.Size(window), xzMaxWindow>>20)
	}
	return nil
}
