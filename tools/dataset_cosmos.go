package tools

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"
)

func datasetCosmosCommand() *cli.Command {
	return &cli.Command{
		Name:      "cosmos",
		Usage:     "make training, test and validation sets of a GREAT3/COSMOS RealGalaxyCatalog",
		ArgsUsage: "CATALOG.fits",
		Description: "The cuts of Chianese et al. (2020), section 2.2: galaxies whose Sersic fits failed or are unphysical go (--fits names the\n" +
			"catalogue of fits; default: CATALOG_fits.fits, where it exists), stamps smaller than --size go, the others are cropped to squares\n" +
			"and scaled down, max(I₁⸝₄)/σ lies between --min-snr and --max-snr, and each image is divided by its maximum. I₁⸝₄ is the stamp\n" +
			"averaged over 4 x 4 pixels and σ the catalogue's pixel noise. Writes train.fits, test.fits and validation.fits into a folder.\n" +
			"Example: lenskit dataset cosmos real_galaxy_catalog_23.5.fits -o cosmos",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "o", Aliases: []string{"output"}, Usage: "the `FOLDER` to write"},
			&cli.StringFlag{Name: "fits", Usage: "the `FILE` with the columns fit_status and sersicfit"},
			&cli.IntFlag{Name: "size", Usage: "pixels on a side", Value: 64},
			&cli.Float64Flag{Name: "min-snr", Usage: "least max(I₁⸝₄)/σ", Value: 15},
			&cli.Float64Flag{Name: "max-snr", Usage: "largest", Value: 50},
			&cli.Float64Flag{Name: "test", Usage: "share of the test set", Value: 500. / 17543},
			&cli.Float64Flag{Name: "validation", Usage: "share of the validation set", Value: 1543. / 17543},
			&cli.Uint64Flag{Name: "seed", Usage: "of the split", Value: 1},
		},
		Action: datasetCosmos,
	}
}

// realGalaxy is a row of a RealGalaxyCatalog.
type realGalaxy struct {
	id, file string
	hdu      int
	sigma    float64
}

// readRealGalaxies reads the catalogue.
func readRealGalaxies(path string) ([]realGalaxy, error) {
	t, err := readTable(path)
	if err != nil {
		return nil, err
	}
	files, err := t.texts("GAL_FILENAME")
	if err != nil {
		return nil, err
	}
	numbers := map[string][]float64{}
	for _, name := range []string{"IDENT", "GAL_HDU", "NOISE_VARIANCE"} {
		if numbers[name], err = t.first(name); err != nil {
			return nil, err
		}
	}
	out := make([]realGalaxy, t.rows)
	for i := range out {
		hdu := numbers["GAL_HDU"][i]
		if !(hdu >= 0 && hdu < fitsMaxHDUs) {
			return nil, badInput("%s: row %d: GAL_HDU is %g, expected 0 to %d", path, i+1, hdu, fitsMaxHDUs-1)
		}
		out[i] = realGalaxy{
			id: strconv.FormatFloat(numbers["IDENT"][i], 'f', -1, 64), file: filepath.Join(filepath.Dir(path), filepath.Base(files[i])),
			hdu: int(hdu), sigma: math.Sqrt(numbers["NOISE_VARIANCE"][i]),
		}
	}
	return out, nil
}

// viableSersic reads which galaxies have a Sersic fit that succeeded and makes sense: the last FIT_STATUS, that of the
// Sersic fit, is 1 to 4, and of SERSICFIT intensity, half-light radius, index and axis ratio are those of a galaxy.
func viableSersic(path string, rows int) ([]bool, error) {
	t, err := readTable(path)
	if err != nil {
		return nil, err
	}
	if t.rows != rows {
		return nil, badInput("%s: found %d rows, expected %d as in the catalogue", path, t.rows, rows)
	}
	fit, err := t.numbers("SERSICFIT")
	if err != nil {
		return nil, err
	}
	status, err := t.numbers("FIT_STATUS")
	if err != nil {
		return nil, err
	}
	flag := make([]float64, rows)
	if t.has("viable_sersic") {
		if flag, err = t.first("viable_sersic"); err != nil {
			return nil, err
		}
	} else {
		for i := range flag {
			flag[i] = 1
		}
	}
	ok := make([]bool, rows)
	for i := range ok {
		if len(fit[i]) < 4 || len(status[i]) < 1 {
			return nil, badInput("%s: found %d numbers of SERSICFIT and %d of FIT_STATUS, expected at least 4 and 1", path, len(fit[i]), len(status[i]))
		}
		last := status[i][len(status[i])-1]
		f := fit[i]
		ok[i] = flag[i] != 0 && last >= 1 && last <= 4
		for _, v := range f[:4] { // intensity, half-light radius, index, axis ratio
			ok[i] = ok[i] && v > 0 && finite(v)
		}
		ok[i] = ok[i] && f[3] <= 1
	}
	return ok, nil
}

// quarter averages an image over blocks of 4 x 4 pixels; what does not fill a block at the upper and right edges is left.
func quarter(pix []float64, w, h int) (peak float64) {
	peak = math.Inf(-1)
	for j := 0; j+4 <= h; j += 4 {
		for i := 0; i+4 <= w; i += 4 {
			sum := 0.0
			for b := range 4 {
				for a := range 4 {
					sum += pix[(j+b)*w+i+a]
				}
			}
			peak = math.Max(peak, sum/16)
		}
	}
	return peak
}

func datasetCosmos(c *cli.Context) error {
	args, err := arguments(c, "CATALOG.fits")
	if err != nil {
		return err
	}
	dir, err := output(c, "FOLDER")
	if err != nil {
		return err
	}
	size, low, high := c.Int("size"), c.Float64("min-snr"), c.Float64("max-snr")
	test, validation := c.Float64("test"), c.Float64("validation")
	switch {
	case size < 16 || size > 512:
		return badInput("dataset cosmos: --size is %d, expected 16 to 512", size)
	case !(low >= 0 && high > low):
		return badInput("dataset cosmos: --min-snr is %g and --max-snr %g, expected 0 <= min < max", low, high)
	case !(test >= 0 && validation >= 0 && test+validation < 1):
		return badInput("dataset cosmos: --test is %g and --validation %g, expected shares that leave something", test, validation)
	}
	list, err := readRealGalaxies(args[0])
	if err != nil {
		return err
	}
	report := newProgress(c.App.ErrWriter, c.Bool("quiet"))
	viable := make([]bool, len(list))
	for i := range viable {
		viable[i] = true
	}
	fits := c.String("fits")
	if fits == "" {
		guess := strings.TrimSuffix(args[0], ".fits") + "_fits.fits"
		if _, err := readTable(guess); err == nil {
			fits = guess
		} else {
			report.say("%s: not there: no galaxy is left out for its Sersic fit", guess)
		}
	}
	if fits != "" {
		if viable, err = viableSersic(fits, len(list)); err != nil {
			return err
		}
	}
	order := make([]int, len(list))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return strings.Compare(list[a].file, list[b].file) })
	type image struct {
		row int
		pix []float64
	}
	var kept []image
	left := map[string]int{}
	var hdus []fitsHDU
	var data *fitsData
	open := ""
	defer func() {
		if data != nil {
			data.Close()
		}
	}()
	for n, i := range order {
		if err := c.Context.Err(); err != nil {
			return err
		}
		g := list[i]
		if !viable[i] {
			left["no good Sersic fit"]++
			continue
		}
		if g.file != open {
			if data != nil {
				data.Close()
				data = nil
			}
			if hdus, data, err = openFITS(g.file); err != nil {
				return err
			}
			open = g.file
			report.say("%s: galaxy %d of %d", filepath.Base(g.file), n+1, len(list))
		}
		if g.hdu >= len(hdus) {
			return badInput("%s: has %d HDUs, and the catalogue's row %d names number %d", g.file, len(hdus), i+1, g.hdu)
		}
		m, err := hdus[g.hdu].read(data)
		if err != nil {
			return err
		}
		w, h, pix, err := m.plane()
		if err != nil {
			return err
		}
		if min(w, h) < size {
			left[fmt.Sprintf("smaller than %d pixels", size)]++
			continue
		}
		square := centreSquare(pix, w, h)
		side := min(w, h)
		snr := quarter(square, side, side) / g.sigma
		small := shrink(square, side, size)
		peak := slices.Max(small)
		switch {
		case slices.ContainsFunc(small, func(v float64) bool { return !finite(v) }) || !(peak > 0):
			left["no peak"]++
			continue
		case !(snr >= low):
			left["too faint"]++
			continue
		case !(snr <= high):
			left["too bright"]++
			continue
		}
		for k := range small {
			small[k] /= peak
		}
		kept = append(kept, image{i, small})
	}
	for _, why := range slices.Sorted(maps.Keys(left)) {
		report.say("left out %d galaxies: %s", left[why], why)
	}
	slices.SortFunc(kept, func(a, b image) int { return a.row - b.row })
	rng := rand.New(rand.NewPCG(c.Uint64("seed"), 0x636f736d6f73))
	rng.Shuffle(len(kept), func(i, j int) { kept[i], kept[j] = kept[j], kept[i] })
	nTest, nValidation := int(math.Round(test*float64(len(kept)))), int(math.Round(validation*float64(len(kept))))
	if len(kept)-nTest-nValidation < 1 {
		return badInput("%s: found %d galaxies that pass the cuts, expected more", args[0], len(kept))
	}
	if err := prepareFolder(dir); err != nil {
		return err
	}
	counts := map[string]any{"galaxies": len(list), "left_out": left}
	from := 0
	for _, part := range []struct {
		name string
		n    int
	}{{"test", nTest}, {"validation", nValidation}, {"train", len(kept) - nTest - nValidation}} {
		set := &preparedSet{Size: size}
		for _, k := range kept[from : from+part.n] {
			set.Pix = append(set.Pix, k.pix...)
			set.IDs = append(set.IDs, list[k.row].id)
		}
		from += part.n
		counts[part.name] = part.n
		if part.n == 0 {
			continue
		}
		path := filepath.Join(dir, part.name+".fits")
		origin := fmt.Sprintf("dataset cosmos %s --seed %d", filepath.Base(args[0]), c.Uint64("seed"))
		if err := writeFITS(path, fitsOut{Axes: []int{size, size, part.n}, Pix: set.Pix, Cards: []fitsKey{{Name: originKey, Value: origin}}}); err != nil {
			return err
		}
		if !c.Bool("json") {
			fmt.Fprintf(c.App.Writer, "%s: %d images of %d x %d pixels\n", path, part.n, size, size)
		}
	}
	if c.Bool("json") {
		return encodeJSON(c.App.Writer, counts)
	}
	return nil
}
