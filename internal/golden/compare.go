//go:build unix

package golden

import (
	"bytes"
	"fmt"
	"image"
	_ "image/png" // for image.Decode
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Line tells of a file of a case whether it is the same. Diff is empty where it is.
type Line struct{ Case, File, Diff string }

// Compare holds the outputs of a case in the folder head against those in base.
func Compare(base, head string, c Case) ([]Line, error) {
	a, err := results(filepath.Join(base, c.Name))
	if err != nil {
		return nil, err
	}
	b, err := results(filepath.Join(head, c.Name))
	if err != nil {
		return nil, err
	}
	if len(a) == 0 {
		return nil, fmt.Errorf("%s: found no outputs of the base", c.Name)
	}
	var out []Line
	all := maps.Clone(a)
	maps.Copy(all, b)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if _, given := c.Files[name]; given || strings.HasSuffix(name, ".lock") {
			continue
		}
		l := Line{Case: c.Name, File: name}
		x, before := a[name]
		y, now := b[name]
		switch {
		case !now:
			l.Diff = "is missing"
		case !before:
			l.Diff = "is new"
		case path.Ext(name) == ".graphs":
			l.Diff = differGraphs(x, y, filepath.Join(base, "graphs"), filepath.Join(head, "graphs"))
		default:
			l.Diff = Differ(name, x, y)
		}
		out = append(out, l)
	}
	return out, nil
}

// Differ tells in which way two files that should be the same differ, "" where only what may differ does.
func Differ(name string, a, b []byte) string {
	if bytes.Equal(a, b) {
		return ""
	}
	a, b = normal(name, a), normal(name, b)
	if bytes.Equal(a, b) {
		return ""
	}
	switch path.Ext(name) {
	case ".png":
		return differPixels(a, b, loose[path.Base(name)])
	case ".onnx":
		return differNodes(a, b)
	}
	if bytes.IndexByte(a, 0) < 0 && bytes.IndexByte(b, 0) < 0 {
		x, y := strings.Split(string(a), "\n"), strings.Split(string(b), "\n")
		for i := range min(len(x), len(y)) {
			if x[i] != y[i] {
				return fmt.Sprintf("line %d is %.100q, was %.100q", i+1, y[i], x[i])
			}
		}
		return fmt.Sprintf("%d lines, were %d", len(y), len(x))
	}
	at := 0
	for at < min(len(a), len(b)) && a[at] == b[at] {
		at++
	}
	return fmt.Sprintf("byte %d is another (%d bytes, were %d)", at, len(b), len(a))
}

// differPixels compares images, of which so many pixels may differ.
func differPixels(a, b []byte, may int) string {
	x, _, err := image.Decode(bytes.NewReader(a))
	if err != nil {
		return "was no image: " + err.Error()
	}
	y, _, err := image.Decode(bytes.NewReader(b))
	if err != nil {
		return "is no image: " + err.Error()
	}
	if x.Bounds() != y.Bounds() {
		return fmt.Sprintf("is %v large, was %v", y.Bounds().Size(), x.Bounds().Size())
	}
	levels := uint32(0)
	if may > 0 {
		levels = looseLevels
	}
	count, first := 0, image.Point{}
	for j := x.Bounds().Min.Y; j < x.Bounds().Max.Y; j++ {
		for i := x.Bounds().Min.X; i < x.Bounds().Max.X; i++ {
			r, g, u, v := x.At(i, j).RGBA()
			r2, g2, u2, v2 := y.At(i, j).RGBA()
			if off := max(r-min(r, r2), r2-min(r, r2), g-min(g, g2), g2-min(g, g2), u-min(u, u2), u2-min(u, u2), v-min(v, v2), v2-min(v, v2)); off > levels {
				if count == 0 {
					first = image.Pt(i, j)
				}
				count++
			}
		}
	}
	if count <= may {
		return ""
	}
	return fmt.Sprintf("%d pixels are others, the first at %v", count, first)
}

// differNodes tells the first node at which two models that are not the same part.
func differNodes(a, b []byte) string {
	x, err := nodesOf(a)
	if err != nil {
		return "was no model: " + err.Error()
	}
	y, err := nodesOf(b)
	if err != nil {
		return "is no model: " + err.Error()
	}
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return fmt.Sprintf("node %d is %.150s, was %.150s", i, y[i], x[i])
		}
	}
	if len(x) != len(y) {
		return fmt.Sprintf("%d nodes, were %d", len(y), len(x))
	}
	return fmt.Sprintf("has the same %d nodes, but other bytes beside them: weights, shapes, names or metadata", len(x))
}

// differGraphs compares the lists of graphs that onnxruntime was given, and tells of the first pair that is not the same.
func differGraphs(a, b []byte, baseGraphs, headGraphs string) string {
	if bytes.Equal(a, b) {
		return ""
	}
	only := func(a, b []byte) (out []string) {
		left := map[string]int{}
		for l := range bytes.Lines(b) {
			left[string(l)]++
		}
		for l := range bytes.Lines(a) {
			if left[string(l)]--; left[string(l)] < 0 {
				out = append(out, strings.Fields(string(l))[4])
			}
		}
		return out
	}
	gone, come := only(a, b), only(b, a)
	text := fmt.Sprintf("of the graphs given to onnxruntime %d are new and %d gone", len(come), len(gone))
	if len(gone) > 0 && len(come) > 0 {
		x, err := os.ReadFile(filepath.Join(baseGraphs, gone[0]))
		y, err2 := os.ReadFile(filepath.Join(headGraphs, come[0]))
		if err == nil && err2 == nil {
			text += ": " + differNodes(x, y)
		}
	}
	return text
}

// results are the files below dir by name.
func results(dir string) (map[string][]byte, error) {
	files := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		files[filepath.ToSlash(rel)], err = os.ReadFile(path)
		return err
	})
	return files, err
}
