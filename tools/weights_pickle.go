package tools

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/nlpodyssey/gopickle/pickle"
	"github.com/nlpodyssey/gopickle/types"
)

// pickleEnd walks the opcodes of the pickle at the start of data and returns its length. It refuses unknown opcodes and
// arguments that reach past the data, so that the unpickler behind it never reserves more memory than the file holds.
func pickleEnd(data []byte) (int, error) {
	at := 0
	take := func(n uint64) error {
		if n > uint64(len(data)-at) {
			return fmt.Errorf("pickle: argument of %d bytes with %d bytes left", n, len(data)-at)
		}
		at += int(n)
		return nil
	}
	line := func() error {
		i := bytes.IndexByte(data[at:], '\n')
		if i < 0 {
			return fmt.Errorf("pickle: a line without end")
		}
		at += i + 1
		return nil
	}
	sized := func(width int) error { // a length of width bytes, then that many bytes
		if err := take(uint64(width)); err != nil {
			return err
		}
		var b [8]byte
		copy(b[:], data[at-width:at])
		return take(binary.LittleEndian.Uint64(b[:]))
	}
	for at < len(data) {
		op := data[at]
		at++
		var err error
		switch op {
		case '.':
			return at, nil
		case 'K', 'h', 'q', 0x80, 0x82:
			err = take(1)
		case 'M', 0x83:
			err = take(2)
		case 'J', 'j', 'r', 0x84:
			err = take(4)
		case 'G':
			err = take(8)
		case 'I', 'L', 'S', 'V', 'F', 'g', 'p', 'P':
			err = line()
		case 'c', 'i':
			if err = line(); err == nil {
				err = line()
			}
		case 'U', 'C', 0x8c, 0x8a:
			err = sized(1)
		case 'T', 'B', 'X', 0x8b:
			err = sized(4)
		case 0x8d, 0x8e, 0x96:
			err = sized(8)
		case 0x95: // a frame: its length only, the opcodes inside follow
			start := at
			if err = sized(8); err == nil {
				at = start + 8
			}
		case 'N', 0x88, 0x89, ']', 'a', 'e', 'l', ')', 't', 0x85, 0x86, 0x87, '}', 'd', 's', 'u', 0x8f, 0x90, 0x91, '0', '2', '(', '1',
			0x94, 0x93, 'R', 'b', 'o', 0x81, 0x92, 'Q':
		default:
			return 0, fmt.Errorf("pickle: unknown opcode 0x%02x at byte %d", op, at-1)
		}
		if err != nil {
			return 0, err
		}
	}
	return 0, fmt.Errorf("pickle: no end in %d bytes", len(data))
}

// unpickle reads the pickle at the start of data and returns it with its length. Classes are those of torchClass;
// persistent resolves references to storages.
func unpickle(data []byte, persistent func(id []any) (any, error)) (v any, n int, err error) {
	if n, err = pickleEnd(data); err != nil {
		return nil, 0, err
	}
	defer func() { // the unpickler trusts the stack to hold what well-formed pickles put there
		if r := recover(); r != nil {
			v, err = nil, fmt.Errorf("pickle: malformed: %v", r)
		}
	}()
	u := pickle.NewUnpickler(bytes.NewReader(data[:n]))
	u.FindClass = torchClass
	u.PersistentLoad = func(id any) (any, error) {
		t, ok := id.(*types.Tuple)
		if !ok || persistent == nil {
			return nil, fmt.Errorf("pickle: unexpected persistent id %v", id)
		}
		return persistent(*t)
	}
	v, err = u.Load()
	if err != nil {
		return nil, 0, fmt.Errorf("pickle: %w", err)
	}
	return v, n, nil
}
