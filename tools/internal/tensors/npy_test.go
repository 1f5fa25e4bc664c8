package tensors

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"lenskit/onnx"
	"lenskit/tools/internal/termtest"
)

// npy assembles a file of version major with the given header dictionary and values.
func npy(major byte, header string, values ...byte) []byte {
	b := []byte("\x93NUMPY")
	b = append(b, major, 0)
	n := len(header)
	if major == 1 {
		b = append(b, byte(n), byte(n>>8))
	} else {
		b = append(b, byte(n), byte(n>>8), byte(n>>16), byte(n>>24))
	}
	return append(append(b, header...), values...)
}

func TestNPYComesBackAsItWasWritten(t *testing.T) {
	for _, want := range []*onnx.Tensor{
		{Type: onnx.Float32, Shape: []int64{2, 3}, Floats: []float32{1, -2, 3.5, float32(math.Inf(1)), 0, 1e-40}},
		{Type: onnx.Float64, Shape: []int64{3}, Doubles: []float64{math.Pi, -0.5, 1e300}},
		{Type: onnx.Float64, Shape: []int64{}, Doubles: []float64{math.Pi}},
		{Type: onnx.Int8, Shape: []int64{2}, Ints: []int64{-128, 127}},
		{Type: onnx.Uint8, Shape: []int64{2}, Ints: []int64{0, 255}},
		{Type: onnx.Int16, Shape: []int64{2}, Ints: []int64{-32768, 32767}},
		{Type: onnx.Uint16, Shape: []int64{1}, Ints: []int64{65535}},
		{Type: onnx.Int32, Shape: []int64{1, 2}, Ints: []int64{math.MinInt32, 7}},
		{Type: onnx.Uint32, Shape: []int64{1}, Ints: []int64{math.MaxUint32}},
		{Type: onnx.Int64, Shape: []int64{2, 1, 1}, Ints: []int64{math.MinInt64, math.MaxInt64}},
		{Type: onnx.Bool, Shape: []int64{3}, Ints: []int64{1, 0, 1}},
		{Type: onnx.Float32, Shape: []int64{0, 4}, Floats: []float32{}},
	} {
		t.Run(fmt.Sprint(want.Type, want.Shape), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.npy")
			if err := WriteNPY(path, want); err != nil {
				t.Fatal(err)
			}
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if at := bytes.IndexByte(data, '\n') + 1; at%64 != 0 {
				t.Errorf("values begin at byte %d, want a multiple of 64", at)
			}
			got, err := ReadNPY(path)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

func TestNPYByteOrderAndFortranOrder(t *testing.T) {
	const dict = "{'descr': '%s', 'fortran_order': %s, 'shape': (2, 3), }\n"
	for _, c := range []struct {
		name, descr, fortran string
		major                byte
		values               []byte
		want                 []float64
	}{
		{"big-endian int16", ">i2", "False", 1, []byte{0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 255, 255}, []float64{1, 2, 3, 4, 5, -1}},
		{"Fortran order", "|u1", "True", 2, []byte{1, 4, 2, 5, 3, 6}, []float64{1, 2, 3, 4, 5, 6}},
		{"half precision", "<f2", "False", 3, []byte{0, 0x3c, 0, 0xc0, 1, 0, 0xff, 0x7b, 0, 0x80, 0, 0x7c}, []float64{1, -2, 1.0 / (1 << 24), 65504, 0, math.Inf(1)}},
		{"big-endian float32", ">f4", "False", 1, append(bytes.Repeat([]byte{0x3f, 0x80, 0, 0}, 5), 0xc0, 0, 0, 0), []float64{1, 1, 1, 1, 1, -2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := npy(c.major, fmt.Sprintf(dict, c.descr, c.fortran), c.values...)
			got, err := DecodeNPY(bytes.NewReader(data), int64(len(data)))
			if err != nil {
				t.Fatal(err)
			}
			for i, want := range c.want {
				if got.Float(i) != want {
					t.Errorf("element %d: got %g, want %g", i, got.Float(i), want)
				}
			}
		})
	}
}

func TestNPYOfOtherMakeIsRefused(t *testing.T) {
	good := "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n"
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "is not a .npy file"},
		{"other", []byte("SIMPLE  =                    T"), "is not a .npy file"},
		{"version", npy(4, good), "found .npy version 4.0, expected 1 to 3"},
		{"header cut off", npy(1, good)[:30], "the header is cut off"},
		{"huge header", npy(2, strings.Repeat(" ", 1<<17)), "found a header of 131072 bytes"},
		{"values cut off", npy(1, good, 1, 2, 3), "found 3 bytes of values, expected 8 for shape [2] of float32"},
		{"too many values", npy(1, good, make([]byte, 9)...), "found more bytes"},
		{"complex", npy(1, strings.Replace(good, "<f4", "<c8", 1)), `found element type "<c8"`},
		{"objects", npy(1, strings.Replace(good, "<f4", "|O", 1)), `found element type "|O"`},
		{"structure", npy(1, strings.Replace(good, "'<f4'", "[('a', '<f4')]", 1)), "expected descr, fortran_order and shape"},
		{"negative", npy(1, strings.Replace(good, "(2,)", "(-2,)", 1)), "expected descr"},
		{"huge", npy(1, strings.Replace(good, "(2,)", "(2000000000,2000000000)", 1)), "expected at most"},
		{"rank", npy(1, strings.Replace(good, "(2,)", "("+strings.Repeat("1,", 40)+")", 1)), "found 40 dimensions"},
		{"no shape", npy(1, "{'descr': '<f4', 'fortran_order': False, }"), "expected descr"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := DecodeNPY(bytes.NewReader(c.data), int64(len(c.data)))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

func FuzzNPY(f *testing.F) {
	f.Add(npy(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n", make([]byte, 8)...))
	f.Add(npy(2, "{'descr': '>i8', 'fortran_order': True, 'shape': (1, 2), }\n", make([]byte, 16)...))
	f.Add(npy(3, "{'shape': (), 'fortran_order': False, 'descr': '|b1'}", 1))
	f.Fuzz(func(t *testing.T, data []byte) {
		before := termtest.Allocated()
		x, err := DecodeNPY(bytes.NewReader(data), int64(len(data)))
		if more := termtest.Allocated() - before; more > 1<<20+32*uint64(len(data)) {
			t.Errorf("%d bytes reserved for a file of %d", more, len(data))
		}
		if err != nil {
			return
		}
		var b bytes.Buffer
		if err := encodeNPY(&b, x); err != nil {
			t.Fatal(err)
		}
		first := b.Bytes()
		y, err := DecodeNPY(bytes.NewReader(first), int64(len(first)))
		if err != nil {
			t.Fatal(err)
		}
		var c bytes.Buffer
		if err := encodeNPY(&c, y); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(first, c.Bytes()) {
			t.Error("a second round changes the file")
		}
	})
}
