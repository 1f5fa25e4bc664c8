package tensors

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lenskit/onnx"
	"lenskit/tools/internal/term"
	"lenskit/tools/internal/termtest"
)

// torchFile packs a pickle and storages as torch.save does.
func torchFile(t testing.TB, pickle string, stores map[string][]byte, method uint16) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	add := func(name string, data []byte) {
		w, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: method})
		if err == nil {
			_, err = w.Write(data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	add("m/data.pkl", []byte(pickle))
	for key, data := range stores {
		add("m/data/"+key, data)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// tensorPickle is the pickle, protocol 2, of a float32 tensor over storage "0" of n elements: pickletools.dis of Python
// reads it as torch.save writes it.
func tensorPickle(n, offset int, shape, stride string) string {
	return "\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu" +
		number4(n) + "tQ" + number4(offset) + shape + stride + "\x89N" + "tR."
}

func number4(n int) string { return "J" + string(binary.LittleEndian.AppendUint32(nil, uint32(n))) }

func TestTorchRecordsAreWhatTheFileSays(t *testing.T) {
	values := make([]byte, 24)
	for i := range 6 {
		binary.LittleEndian.PutUint32(values[4*i:], math.Float32bits(float32(i)))
	}
	parse := func(data []byte) ([]Stored, error) { return parseTorch(bytes.NewReader(data), int64(len(data))) }
	good := torchFile(t, tensorPickle(6, 1, "K\x02K\x02\x86", "K\x03K\x01\x86"), map[string][]byte{"0": values}, zip.Store)
	ws, err := parse(good)
	if err != nil || len(ws) != 1 {
		t.Fatalf("got %v, %v", ws, err)
	}
	// numpy: np.arange(6, dtype='f4')[1:].reshape... as_strided(offset 1, shape (2, 2), strides (3, 1)) is [[1, 2], [4, 5]]
	x, err := ws[0].tensor()
	if err != nil || fmt.Sprint(x.Floats) != "[1 2 4 5]" {
		t.Errorf("got %v, %v, want [1 2 4 5]", x.Floats, err)
	}
	damaged := bytes.Clone(good)
	damaged[bytes.Index(good, values)+5] ^= 0x40
	long := map[string][]byte{"0": append(bytes.Clone(values), 0)}
	for _, row := range []struct {
		what string
		data []byte
		want string
	}{
		// zipfile.ZipFile.testzip of Python names the record: Bad CRC-32
		{"a changed byte", damaged, "checksum"},
		{"a long record", torchFile(t, tensorPickle(6, 0, "K\x06\x85", "K\x01\x85"), long, zip.Store), "has 25 bytes, expected 24"},
		{"a short record", torchFile(t, tensorPickle(7, 0, "K\x06\x85", "K\x01\x85"), map[string][]byte{"0": values}, zip.Store), "has 24 bytes, expected 28"},
		{"a packed record", torchFile(t, tensorPickle(6, 0, "K\x06\x85", "K\x01\x85"), map[string][]byte{"0": values}, zip.Deflate), "compressed"},
		{"a view beyond its storage", torchFile(t, tensorPickle(6, 3, "K\x06\x85", "K\x01\x85"), map[string][]byte{"0": values}, zip.Store), "reaches element 8"},
		{"an expanded view", torchFile(t, tensorPickle(6, 0, "J\x00\x00\x00\x08\x85", "K\x00\x85"), map[string][]byte{"0": values}, zip.Store), "expanded"},
		{"no storage", torchFile(t, tensorPickle(6, 0, "K\x06\x85", "K\x01\x85"), nil, zip.Store), "is not in the file"},
	} {
		_, err := parse(row.data)
		termtest.Refused(t, row.what, err, row.want)
	}
	pt, err := os.ReadFile(filepath.Join("..", "..", "vae", "testdata", "vae_small.pt")) // by PyTorch
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parse(pt); err != nil {
		t.Error(err)
	}
	pt[len(pt)/2] ^= 1
	_, err = parse(pt)
	termtest.Refused(t, "a changed byte of PyTorch's file", err)
}

func TestPicklesAreReadInTimeAndMemory(t *testing.T) {
	long4 := func(n int) string {
		return "\x8b" + string(binary.LittleEndian.AppendUint32(nil, uint32(n))) + strings.Repeat("\x7f", n)
	}
	for what, p := range map[string]string{
		"a long integer":            "\x80\x02" + long4(1<<21) + ".",
		"a long integer in digits":  "L" + strings.Repeat("7", 3_000_000) + "L\n.",
		"an int in digits":          "I" + strings.Repeat("7", 3_000_000) + "\n.",
		"many lists":                strings.Repeat("]", 1<<24) + ".",
		"many dictionaries":         strings.Repeat("}", 1<<23) + ".",
		"many marks":                strings.Repeat("(", 1<<24),
		"bytes called":              "C\xff" + strings.Repeat("\x01", 255) + ")R.",
		"a list of bytes called":    "(C\xff" + strings.Repeat("\x01", 255) + strings.Repeat("2", 1<<20) + "l)R.",
		"an argument beyond":        "\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
		"an argument past the sign": "\x8d\xff\xff\xff\xff\xff\xff\xff\xff.",
		"an empty stack":            "R.",
		"no end":                    strings.Repeat("N", 1000),
		"bytes as a key":            "}(]K\x01ssu.",
	} {
		before, start := termtest.Allocated(), time.Now()
		_, _, err := unpickle([]byte(p), nil)
		if err == nil {
			t.Errorf("%s: read, want an error", what)
			continue
		}
		if d := time.Since(start); d > 20*time.Second {
			t.Errorf("%s: %v", what, d)
		}
		if more := termtest.Allocated() - before; more > 1<<30 {
			t.Errorf("%s: %d MB reserved", what, more>>20)
		}
		termtest.Refused(t, what, err)
	}
	// Python 3: pickle.loads of these gives the same
	for p, want := range map[string]any{
		"\x80\x02\x8a\x02\xff\x00.":          int64(255),
		"\x80\x02\x8a\x01\x80.":              int64(-128),
		"\x80\x02\x8a\x00.":                  int64(0),
		"L-12345678901L\n.":                  int64(-12345678901),
		"I01\n.":                             true,
		"F2.5\n.":                            2.5,
		"G\x40\x04\x00\x00\x00\x00\x00\x00.": 2.5,
		"J\xfe\xff\xff\xff.":                 int64(-2),
		"S'a\\x62\\n'\np0\n0g0\n.":           "ab\n",
		"V\\u00e9\n.":                        "é",
		"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00\x8c\x01q\x94.": "q",
	} {
		if v, n, err := unpickle([]byte(p), nil); err != nil || v != want || n != len(p) {
			t.Errorf("%q: got %v (%d bytes, %v), want %v", p, v, n, err, want)
		}
	}
}

func TestNPYOfAnotherTypeIsRefusedBeforeItsValues(t *testing.T) {
	const n = 64 << 20
	data := npy(1, fmt.Sprintf("{'descr': '|b1', 'fortran_order': False, 'shape': (%d,), }", n))
	path := filepath.Join(t.TempDir(), "x.npy")
	if err := os.WriteFile(path, data, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, int64(len(data)+n)); err != nil {
		t.Fatal(err)
	}
	before := termtest.Allocated()
	_, err := ReadNPY(path, func(d onnx.DType, _ []int64) error {
		if d != onnx.Float32 {
			return errors.New("found bool, expected float32")
		}
		return nil
	})
	termtest.Refused(t, "bool", err, "found bool")
	_, err = ReadNPY(path) // wanted, but eight bytes a value
	termtest.Refused(t, "many bools", err, "in memory")
	if more := termtest.Allocated() - before; more > 1<<20 {
		t.Errorf("%d kB reserved", more>>10)
	}
}

func FuzzPickle(f *testing.F) {
	f.Add([]byte(tensorPickle(6, 1, "K\x02K\x02\x86", "K\x03K\x01\x86")))
	f.Add([]byte("\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00\x8c\x01q\x94."))
	f.Add([]byte("ccollections\nOrderedDict\n)Rq\x00(X\x01\x00\x00\x00aK\x01u."))
	f.Fuzz(func(t *testing.T, data []byte) {
		before := termtest.Allocated()
		v, n, err := unpickle(data, func([]any) (any, error) { return &storage{elem: elementTypes[0], filled: true}, nil })
		if more := termtest.Allocated() - before; more > 1<<20+1000*uint64(len(data)) {
			t.Errorf("%d bytes reserved for a pickle of %d", more, len(data))
		}
		if err != nil {
			if len(err.Error()) > term.LongestLine {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		if n > len(data) {
			t.Errorf("read %d of %d bytes", n, len(data))
		}
		c := collector{names: map[string]bool{}}
		c.walk("", v, 0)
	})
}
