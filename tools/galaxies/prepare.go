package galaxies

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"lenskit/internal/stats"
	"lenskit/tools/internal/fits"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"
	"lenskit/tools/problem"
)

// Cutout is an image of a galaxy before it is prepared.
type Cutout struct {
	ID   string
	SNR  float64 // of the peak; NaN: to be measured
	W, H int
	Pix  []float64
}

// PrepareOptions say how cut-outs become training images.
type PrepareOptions struct {
	Size, Taper    int
	Noise          float64 // of a pixel; 0: measured at the border
	MinSNR, MaxSNR float64 // of the peak
}

// PreparedSet is a training set with the galaxy that each plane shows.
type PreparedSet struct {
	Size int
	Pix  []float64
	IDs  []string
	SNR  []float64
}

// Prepare adds a cut-out to the set, or tells why not.
func (o PrepareOptions) Prepare(set *PreparedSet, c Cutout) (why string) {
	side := min(c.W, c.H)
	if side < o.Size {
		return fmt.Sprintf("smaller than %d pixels", o.Size)
	}
	square := CentreSquare(c.Pix, c.W, c.H)
	for _, v := range square {
		if !term.Finite(v) {
			return "pixels that are not finite"
		}
	}
	small := Shrink(square, side, o.Size)
	floor, scatter := borderStatistics(small, o.Size)
	peak := math.Inf(-1)
	for i := range small {
		small[i] -= floor
		peak = max(peak, small[i])
	}
	if o.Noise > 0 {
		scatter = o.Noise * float64(o.Size) / float64(side) // of the mean over (side/size)² pixels
	}
	snr := c.SNR
	if math.IsNaN(snr) {
		snr = peak / scatter
	}
	switch {
	case !(peak > 0):
		return "no peak"
	case !(snr >= o.MinSNR):
		return "too faint"
	case o.MaxSNR > 0 && snr > o.MaxSNR:
		return "too bright"
	}
	// A neighbour brighter than the galaxy would set the scale.
	if at, edge := slices.Index(small, peak), o.Size/8; at%o.Size < edge || at%o.Size >= o.Size-edge || at/o.Size < edge || at/o.Size >= o.Size-edge {
		return "brightest near the edge"
	}
	Fade(small, o.Size, o.Taper)
	peak = slices.Max(small)
	if !(peak > 0) {
		return "no peak"
	}
	for i := range small {
		small[i] /= peak
	}
	set.Size = o.Size
	set.Pix = append(set.Pix, small...)
	set.IDs = append(set.IDs, c.ID)
	set.SNR = append(set.SNR, snr)
	return ""
}

// CentreSquare cuts the largest square out of the middle of an image.
func CentreSquare(pix []float64, w, h int) []float64 {
	side := min(w, h)
	x0, y0 := (w-side)/2, (h-side)/2
	out := make([]float64, 0, side*side)
	for j := range side {
		at := (y0+j)*w + x0
		out = append(out, pix[at:at+side]...)
	}
	return out
}

// Shrink scales a square image down to size pixels by averaging over the areas that the new pixels cover.
func Shrink(pix []float64, side, size int) []float64 {
	if side == size {
		return slices.Clone(pix)
	}
	step := float64(side) / float64(size)
	// weights of the old pixels below a new one, the same along both axes
	type share struct {
		at int
		w  float64
	}
	shares := make([][]share, size)
	for i := range size {
		lo, hi := float64(i)*step, float64(i+1)*step
		for k := int(lo); k < side && float64(k) < hi; k++ {
			if w := min(hi, float64(k+1)) - max(lo, float64(k)); w > 1e-9 {
				shares[i] = append(shares[i], share{k, w / step})
			}
		}
	}
	rows := make([]float64, side*size) // shrunk along x
	for j := range side {
		for i := range size {
			for _, s := range shares[i] {
				rows[j*size+i] += s.w * pix[j*side+s.at]
			}
		}
	}
	out := make([]float64, size*size)
	for j := range size {
		for _, s := range shares[j] {
			for i := range size {
				out[j*size+i] += s.w * rows[s.at*size+i]
			}
		}
	}
	return out
}

// borderStatistics are the median and the scatter, as a standard deviation, of an image's outermost two pixels.
func borderStatistics(pix []float64, n int) (median, sigma float64) {
	var v []float64
	for j := range n {
		for i := range n {
			if i < 2 || j < 2 || i >= n-2 || j >= n-2 {
				v = append(v, pix[j*n+i])
			}
		}
	}
	median = stats.Percentile(v, 0.5)
	for i := range v {
		v[i] = math.Abs(v[i] - median)
	}
	return median, 1.4826 * stats.Percentile(v, 0.5) // of a normal distribution
}

// Fade multiplies an image by half a period of a cosine over its outermost width pixels.
func Fade(pix []float64, n, width int) {
	factor := func(i int) float64 {
		d := min(i, n-1-i)
		if d >= width {
			return 1
		}
		return 0.5 * (1 - math.Cos(math.Pi*(float64(d)+0.5)/float64(width)))
	}
	for j := range n {
		for i := range n {
			pix[j*n+i] *= factor(i) * factor(j)
		}
	}
}

// WriteOptions say where a prepared set goes.
type WriteOptions struct {
	Input  string  // where its cut-outs come from
	Output string  // the FITS file to write
	Held   string  // that of the galaxies held back; "": none
	Hold   float64 // the share of galaxies held back, all planes of a galaxy together
	Seed   uint64  // of their choice
	JSON   bool    // tell the counts so
}

// WritePrepared writes the set, the galaxies held back into a file of their own, and tells the counts: the files' on stdout, and
// by report what was left out of the set, by the reasons that Prepare has given. A file that would have no image is an error.
func WritePrepared(set *PreparedSet, left map[string]int, opt WriteOptions, stdout io.Writer, report *term.Progress) error {
	report = report.OrSilent()
	whys := make([]string, 0, len(left))
	for why := range left {
		whys = append(whys, why)
	}
	slices.Sort(whys)
	for _, why := range whys {
		report.Say("left out %d images: %s", left[why], why)
	}
	if len(set.IDs) == 0 {
		return term.BadInput("%s: no image is left, expected some that pass the cuts", opt.Input)
	}
	names := slices.Compact(slices.Sorted(slices.Values(set.IDs)))
	rand.New(rand.NewPCG(opt.Seed, 0x686f6c64)).Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	out := map[string]bool{}
	for _, id := range names[:int(math.Round(opt.Hold*float64(len(names))))] {
		out[id] = true
	}
	counts := map[string]any{"galaxies": len(names), "galaxies_held_back": len(out), "left_out": left}
	origin := "dataset prepare " + filepath.Base(opt.Input)
	for _, part := range []struct {
		path string
		held bool
		key  string
	}{{opt.Output, false, "images"}, {opt.Held, true, "images_held_back"}} {
		if part.path == "" {
			continue
		}
		n := 0
		var pix []float64
		var rows strings.Builder
		w := csv.NewWriter(&rows)
		w.Write([]string{"plane", "id", "peak_snr"})
		for i, id := range set.IDs {
			if out[id] == part.held {
				pix = append(pix, set.Pix[i*set.Size*set.Size:(i+1)*set.Size*set.Size]...)
				w.Write([]string{strconv.Itoa(n), id, strconv.FormatFloat(set.SNR[i], 'g', 6, 64)})
				n++
			}
		}
		w.Flush()
		if n == 0 {
			return term.BadInput("%s: no image would be in it, expected some: change --hold", part.path)
		}
		if err := rundir.Prepare(filepath.Dir(part.path)); err != nil {
			return err
		}
		if err := fits.Write(part.path, fits.Out{Axes: []int{set.Size, set.Size, n}, Pix: pix, Cards: []fits.Key{{Name: OriginKey, Value: origin, Comment: ""}}}); err != nil {
			return err
		}
		table := strings.TrimSuffix(part.path, filepath.Ext(part.path)) + ".csv"
		if err := rundir.WriteAtomic(table, func(f io.Writer) error { _, err := io.WriteString(f, rows.String()); return err }); err != nil {
			return err
		}
		counts[part.key] = n
		if !opt.JSON {
			fmt.Fprintf(stdout, "%s: %d images of %d x %d pixels\n", part.path, n, set.Size, set.Size)
		}
	}
	if opt.JSON {
		return rundir.EncodeJSON(stdout, counts)
	}
	return nil
}

// EachInCube calls add with the planes of a cube.
func EachInCube(path, catalog string, report *term.Progress, add func(Cutout)) error {
	report = report.OrSilent()
	var ids []string
	var snr []float64
	var w, h int
	notice, err := fits.Request{}.EachPlane(path, func(n, wide, high int) error {
		w, h = wide, high
		ids, snr = make([]string, n), make([]float64, n)
		for i := range n {
			ids[i], snr[i] = strconv.Itoa(i), math.NaN()
		}
		if catalog != "" {
			return ReadGalaxyTable(catalog, ids, snr)
		}
		return nil
	}, func(i int, pix []float64) {
		add(Cutout{ID: ids[i], SNR: snr[i], W: w, H: h, Pix: pix})
	})
	if notice != "" {
		report.Say("%s", notice)
	}
	return err
}

// ReadGalaxyTable fills ids and signal to noise from the columns id and peak_snr of a CSV file; either may be missing.
func ReadGalaxyTable(path string, ids []string, snr []float64) error {
	text, err := rundir.ReadFile(path, "a CSV file with the columns id or peak_snr", term.MaxTableFile)
	if err != nil {
		return err
	}
	r := csv.NewReader(bytes.NewReader(text))
	r.ReuseRecord = true
	head, err := r.Read()
	if err != nil {
		return term.BadInput("%s: has no header line: %w", path, err)
	}
	id, sn := slices.Index(head, "id"), slices.Index(head, "peak_snr")
	if id < 0 && sn < 0 {
		return term.BadInput("%s: found columns %q, expected id or peak_snr among them", path, term.Shown(strings.Join(head, ",")))
	}
	for i := 0; ; i++ {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			if i != len(ids) {
				return term.BadInput("%s: found %d rows, expected %d, one for each plane", path, i, len(ids))
			}
			return nil
		}
		if err != nil {
			return term.BadInput("%s: %w", path, err)
		}
		if i >= len(ids) {
			return term.BadInput("%s: found more than %d rows, expected one for each plane", path, len(ids))
		}
		if id >= 0 {
			ids[i] = strings.Clone(row[id])
		}
		if sn >= 0 {
			if snr[i], err = strconv.ParseFloat(row[sn], 64); err != nil {
				line, _ := r.FieldPos(sn)
				return term.BadInput("%s: line %d: peak_snr: found %q, expected a number", path, line, term.Shown(row[sn]))
			}
		}
	}
}

// EachInFolder calls add with the images of the FITS files of a folder, in the order of their names.
func EachInFolder(dir string, report *term.Progress, add func(Cutout)) error {
	report = report.OrSilent()
	entries, err := os.ReadDir(dir)
	if err != nil {
		return term.BadInput("%s: %s", dir, term.Reason(err))
	}
	found := false
	for _, e := range entries {
		if e.IsDir() || !problem.IsFITS(filepath.Join(dir, e.Name())) {
			continue
		}
		found = true
		var w, h int
		notice, err := fits.Request{}.EachPlane(filepath.Join(dir, e.Name()), func(_, wide, high int) error {
			w, h = wide, high
			return nil
		}, func(_ int, pix []float64) {
			add(Cutout{ID: e.Name(), SNR: math.NaN(), W: w, H: h, Pix: pix})
		})
		if err != nil {
			return err
		}
		if notice != "" {
			report.Say("%s", notice)
		}
	}
	if !found {
		return term.BadInput("%s: holds no FITS file", dir)
	}
	return nil
}
