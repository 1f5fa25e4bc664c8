//go:build unix

package golden

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"strings"
	"testing"
)

// TestDifferSeesAllButTheTime holds what may differ between two runs against what may not.
func TestDifferSeesAllButTheTime(t *testing.T) {
	for _, c := range []struct{ file, a, b, want string }{
		{"fit.json", `{"chi2": 1, "seconds": 2.5, "versions": {"go": "a"}}`, `{"chi2": 1, "seconds": 31, "versions": {"go": "b", "x": []}}`, ""},
		{"fit.json", `{"chi2": 1, "seconds": 2}`, `{"chi2": 1.0, "seconds": 2}`, "line 1"},
		{"fit.json", `{"a": 1, "b": 2}`, `{"b": 2, "a": 1}`, "line 1"},
		{"fit.json", `{"a": ["seconds", 1]}`, `{"a": ["seconds", 2]}`, "line 1"},
		{"fit.json", `{"a": {"pid": 1}, "b": 2}`, `{"a": {"pid": 77}, "b": 3}`, "line 1"},
		{"run-01.stdout", `{"seconds": 1}`, `{"seconds": 22}`, ""},
		{
			"run-01.stderr", "lenskit: starts: 48 steps, log posterior 2.5, 91 evaluations, 0.0 s\n",
			"lenskit: starts: step 3 of 48, 9 evaluations (88/s), 2.1 s left\nlenskit: starts: 48 steps, log posterior 2.5, 91 evaluations (909/s), 1 min 02 s\n", "",
		},
		{"run-01.stderr", "lenskit: starts: 48 steps, 91 evaluations, 0.0 s\n", "lenskit: starts: 48 steps, 92 evaluations, 0.0 s\n", "92 evaluations"},
		{"run-01.stderr", "epoch 1 of 2, the best yet; 178 images/s, 0.3 s left", "epoch 1 of 2, the best yet; 99 images/s, 11 s left", ""},
		{"run-01.exit", "0\n", "3\n", "line 1"},
		{"s.csv", "# Elapsed Time: 1.5 seconds\na,seconds,b\n1,2,3\n", "# Elapsed Time: 2.5 seconds\na,seconds,b\n1,7,3\n", ""},
		{"s.csv", "# a = 1\na,seconds,b\n1,2,3\n", "# a = 2\na,seconds,b\n1,2,3\n", "line 1"},
		{"s.csv", "a,seconds,b\n1,2,3\n", "a,seconds,b\n1,2,4\n", "line 2"},
		{"w.safetensors", tensors(`{"m":{"n":"{\"pid\": 1}"}}`, "ab"), tensors(`{"m":{"n":"{\"pid\": 22}"}}  `, "ab"), ""},
		{"w.safetensors", tensors(`{"m":{"n":"{\"pid\": 1}"}}`, "ab"), tensors(`{"m":{"n":"{\"pid\": 1}"}}`, "ac"), "is"},
		{"w.safetensors", tensors(`{"m":{"n":"{\"pip\": 1}"}}`, "ab"), tensors(`{"m":{"n":"{\"pip\": 2}"}}`, "ab"), "is"},
		{"t.fits", table("seconds", 1, 5), table("seconds", 2, 5), ""},
		{"t.fits", table("seconds", 1, 5), table("seconds", 1, 6), "is another"},
		{"t.fits", table("chi2", 1, 5), table("chi2", 2, 5), "is another"},
		{"f.png", picture(png.BestSpeed, 7), picture(png.NoCompression, 7), ""},
		{"f.png", picture(png.BestSpeed, 7), picture(png.BestSpeed, 8), "1 pixels are others, the first at (2,1)"},
		{"s/corner.png", picture(png.BestSpeed, 7), picture(png.BestSpeed, 8), ""},
		{"m.onnx", model("x", "y"), model("x", "z"), `node 0 is "" Relu(x) -> z`},
		{"b/card.md", "best.safetensors, sha256 " + strings.Repeat("a", 64), "best.safetensors, sha256 " + strings.Repeat("b", 64), ""},
		{"config.yaml", "a: 1 # 2 s\n", "a: 1 # 3 s\n", "line 1"},
	} {
		got := Differ(c.file, []byte(c.a), []byte(c.b))
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %.80q and %.80q: got %q, expected %q", c.file, c.a, c.b, got, c.want)
		}
	}
}

// TestWithLossAddsANodeAndAnOutput holds the model to train by.
func TestWithLossAddsANodeAndAnOutput(t *testing.T) {
	b, err := withLoss([]byte(model("x", "y")))
	if err != nil {
		t.Fatal(err)
	}
	nodes, err := nodesOf(b)
	if err != nil {
		t.Fatal(err)
	}
	if len(nodes) != 2 || !strings.HasPrefix(nodes[1], `"" ReduceSumSquare(y) -> loss`) {
		t.Errorf("got nodes %q, expected a Relu and the sum of squares of y", nodes)
	}
	for cut := range b {
		withLoss(b[:cut]) // an error or not, but no panic
	}
}

func tensors(header, data string) string {
	return string(binary.LittleEndian.AppendUint64(nil, uint64(len(header)))) + header + data
}

func model(in, out string) string {
	node := appendField(appendField(nil, 1, []byte(in)), 2, []byte(out))
	node = appendField(node, 4, []byte("Relu"))
	return string(appendField(nil, 7, appendField(appendField(nil, 1, node), 12, appendField(nil, 1, []byte(out)))))
}

// table is a FITS table with two columns of one byte, of that name and of name x, and a row.
func table(name string, a, b byte) string {
	pad := func(s string, to int, with string) string { return s + strings.Repeat(with, to-len(s)) }
	cards := func(lines ...string) (s string) {
		for _, l := range lines {
			s += pad(l, 80, " ")
		}
		return pad(s, 2880, " ")
	}
	return cards("SIMPLE  =                    T", "BITPIX  =                    8", "NAXIS   =                    0", "END") +
		cards("XTENSION= 'BINTABLE'", "BITPIX  =                    8", "NAXIS   =                    2", "NAXIS1  =                    2", "NAXIS2  =                    1",
			"PCOUNT  =                    0", "GCOUNT  =                    1", "TFIELDS =                    2", fmt.Sprintf("TTYPE1  = '%s'", name), "TFORM1  = '1B      '", "TTYPE2  = 'x'", "TFORM2  = '1B      '", "END") +
		pad(string([]byte{a, b}), 2880, "\x00")
}

func picture(level png.CompressionLevel, gray uint8) string {
	m := image.NewGray(image.Rect(0, 0, 5, 4))
	m.SetGray(2, 1, color.Gray{Y: gray})
	var b bytes.Buffer
	(&png.Encoder{CompressionLevel: level}).Encode(&b, m)
	return b.String()
}
