package tools

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"lenskit/tools/config"
	"lenskit/tools/galaxies"
	"lenskit/tools/internal/fits"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"
)

func datasetCommand() *cli.Command {
	return &cli.Command{
		Name:  "dataset",
		Usage: "make and look at sets of galaxy images",
		Subcommands: []*cli.Command{
			datasetPrepareCommand(),
			datasetCosmosCommand(),
			{
				Name:  "synth",
				Usage: "draw galaxies into a FITS cube",
				Description: "Spheroids, discs with bulges, spirals, clumpy and edge-on discs, mergers; each has peak 1 on a background of 0.\n" +
					"Example: lenskit dataset synth -o galaxies.fits --count 20000 --seed 1",
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "o", Aliases: []string{"output"}, Usage: "the FITS `FILE` to write"},
					&cli.IntFlag{Name: "count", Usage: "how many galaxies", Value: 1000},
					&cli.IntFlag{Name: "size", Usage: "pixels on a side", Value: 64},
					&cli.Uint64Flag{Name: "seed", Usage: "of the random numbers", Value: 1},
				},
				Action: datasetSynth,
			},
			{
				Name:        "show",
				Usage:       "draw the images of a FITS cube side by side",
				ArgsUsage:   "DATA.fits",
				Description: "Example: lenskit dataset show galaxies.fits -o sheet.png",
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "o", Aliases: []string{"output"}, Usage: "the PNG `FILE` to write"},
					&cli.IntFlag{Name: "count", Usage: "how many images, evenly spread over the set", Value: 96},
				},
				Action: datasetShow,
			},
			{
				Name:      "bundle",
				Usage:     "make a linear decoder bundle of a FITS cube: its principal components",
				ArgsUsage: "DATA.fits",
				Description: "Each twentieth image is held back to measure the reconstruction.\n" +
					"Example: lenskit dataset bundle galaxies.fits -o models/linear --latents 64",
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "o", Aliases: []string{"output"}, Usage: "the `FOLDER` to write"},
					&cli.IntFlag{Name: "latents", Usage: "how many components", Value: 64},
					&cli.Uint64Flag{Name: "seed", Usage: "of the random start of the search for components", Value: 1},
				},
				Action: datasetBundle,
			},
			{
				Name:      "check",
				Usage:     "measure how well a bundle's encoder and decoder reproduce the images of a FITS cube",
				ArgsUsage: "DATA.fits",
				Description: "Of each image the median of its border is taken off and the rest is divided by its peak.\n" +
					"Example: lenskit dataset check galaxies.fits --model models/linear -o sheet.png",
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "model", Usage: "the `BUNDLE`; left out: the one in the binary"},
					&cli.StringFlag{Name: "o", Aliases: []string{"output"}, Usage: "a PNG `FILE` of images above their reconstructions"},
				},
				Action: datasetCheck,
			},
		},
	}
}

// output is the value of -o, which the command cannot do without.
func output(c *cli.Context, what string) (string, error) {
	path := c.String("o")
	if path == "" {
		return "", term.WithHint(term.BadInput("%s: -o is missing, expected the %s to write", c.Command.Name, what), "%s --help shows the usage", c.Command.HelpName)
	}
	return path, nil
}

func datasetSynth(c *cli.Context) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	n, size, seed := c.Int("count"), c.Int("size"), c.Uint64("seed")
	if n < 1 || n > 1_000_000 {
		return term.BadInput("dataset synth: --count is %d, expected 1 to 1000000", n)
	}
	if size < 16 || size > 512 {
		return term.BadInput("dataset synth: --size is %d, expected 16 to 512", size)
	}
	path, err := output(c, "FILE")
	if err != nil {
		return err
	}
	if err := rundir.Prepare(filepath.Dir(path)); err != nil {
		return err
	}
	start := time.Now()
	report := term.NewProgress(c.App.ErrWriter, c.Bool("quiet"))
	pix, err := galaxies.Synthesise(c.Context, n, size, seed, report)
	if err != nil {
		return err
	}
	origin := fmt.Sprintf("dataset synth --count %d --size %d --seed %d", n, size, seed)
	err = fits.Write(path, fits.Out{Axes: []int{size, size, n}, Pix: pix, Cards: []fits.Key{{Name: galaxies.OriginKey, Value: origin, Comment: ""}}})
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return rundir.EncodeJSON(c.App.Writer, map[string]any{"file": path, "count": n, "size": size, "seed": seed, "seconds": time.Since(start).Seconds()})
	}
	_, err = fmt.Fprintf(c.App.Writer, "%s: %d galaxies of %d x %d pixels\n", path, n, size, size)
	return err
}

func datasetShow(c *cli.Context) error {
	args, err := arguments(c, "DATA.fits")
	if err != nil {
		return err
	}
	path, err := output(c, "FILE")
	if err != nil {
		return err
	}
	if c.Int("count") < 1 || c.Int("count") > 10_000 {
		return term.BadInput("dataset show: --count is %d, expected 1 to 10000", c.Int("count"))
	}
	set, _, err := galaxies.ReadCube(args[0])
	if err != nil {
		return err
	}
	count := min(c.Int("count"), set.N)
	var planes [][]float64
	for k := range count {
		planes = append(planes, galaxies.Normalised(set.Plane(k*set.N/count), set.W, set.H))
	}
	if err := galaxies.WriteSheet(path, planes, set.W, set.H, 12); err != nil {
		return err
	}
	if c.Bool("json") {
		return rundir.EncodeJSON(c.App.Writer, map[string]any{"file": path, "shown": count, "count": set.N})
	}
	_, err = fmt.Fprintf(c.App.Writer, "%s: %d of %d images\n", path, count, set.N)
	return err
}

func datasetBundle(c *cli.Context) error {
	args, err := arguments(c, "DATA.fits")
	if err != nil {
		return err
	}
	dir, err := output(c, "FOLDER")
	if err != nil {
		return err
	}
	set, bad, err := galaxies.ReadCube(args[0])
	if err != nil {
		return err
	}
	latents := c.Int("latents")
	if most := min(4096, set.W*set.H, set.N-set.N/20); latents < 1 || latents > most {
		return term.BadInput("dataset bundle: --latents is %d, expected 1 to %d for %d images of %d x %d", latents, most, set.N, set.W, set.H)
	}
	if err := rundir.Prepare(dir); err != nil {
		return err
	}
	if err := rundir.BundleFolder.CheckFor(dir); err != nil {
		return err
	}
	start := time.Now()
	report := term.NewProgress(c.App.ErrWriter, c.Bool("quiet"))
	if bad > 0 {
		report.Say("%s: %d pixels are not finite and count as 0", args[0], bad)
	}
	p, err := galaxies.PrincipalComponents(c.Context, set, latents, c.Uint64("seed"), report)
	if err != nil {
		return err
	}
	rms := p.HeldBack(set)
	k := galaxies.Card{
		Name:    filepath.Base(filepath.Clean(dir)),
		Data:    set,
		Latents: latents,
		Seed:    c.Uint64("seed"),
		File:    filepath.Base(args[0]),
		Kept:    p.Kept,
		Rms:     rms,
	}
	moved, err := rundir.BundleRoom(dir, rundir.CardHas(dir, k.Text()), rundir.BundleFiles...)
	if err != nil {
		return err
	}
	if moved != "" {
		report.Warn("%s", moved)
	}
	if err := p.Write(dir, k); err != nil {
		return err
	}
	if c.Bool("json") {
		return rundir.EncodeJSON(c.App.Writer, map[string]any{"folder": dir, "latents": latents, "images": set.N, "variance_kept": term.JSONFloat(p.Kept), "held_back_rms": term.JSONFloat(rms), "seconds": time.Since(start).Seconds()})
	}
	_, err = fmt.Fprintf(c.App.Writer, "%s: %d components keep %.1f %% of the variance of %d images; held-back residual rms %.4f of the peak\n", dir, latents, 100*p.Kept, set.N, rms)
	return err
}

func datasetCheck(c *cli.Context) error {
	args, err := arguments(c, "DATA.fits")
	if err != nil {
		return err
	}
	b, err := config.LoadBundle(c.String("model"))
	if err != nil {
		return err
	}
	set, _, err := galaxies.ReadCube(args[0])
	if err != nil {
		return err
	}
	r, err := galaxies.Reconstruct(b, set)
	if err != nil {
		return err
	}
	var rms []float64
	for i := range r.Originals {
		sum := 0.0
		for k, v := range r.Originals[i] {
			d := v - r.Decoded[i][k]
			sum += d * d
		}
		rms = append(rms, math.Sqrt(sum/float64(len(r.Originals[i]))))
	}
	if out := c.String("o"); out != "" {
		var planes [][]float64
		const columns = 12
		count := min(48, len(rms))
		for row := 0; row < count; row += columns {
			var below [][]float64
			for k := row; k < min(row+columns, count); k++ {
				i := k * len(rms) / count
				planes = append(planes, r.Originals[i])
				below = append(below, r.Decoded[i])
			}
			planes = append(planes, below...)
		}
		if err := galaxies.WriteSheet(out, planes, set.W, set.H, min(columns, count)); err != nil {
			return err
		}
	}
	slices.Sort(rms)
	at := func(f float64) float64 { return rms[int(f*float64(len(rms)-1))] }
	mean := 0.0
	for _, v := range rms {
		mean += v / float64(len(rms))
	}
	if c.Bool("json") {
		return rundir.EncodeJSON(c.App.Writer, map[string]any{"images": len(rms), "rms": map[string]term.JSONFloat{"mean": term.JSONFloat(mean), "q5": term.JSONFloat(at(0.05)), "q50": term.JSONFloat(at(0.5)), "q95": term.JSONFloat(at(0.95))}})
	}
	_, err = fmt.Fprintf(c.App.Writer, "%d images: residual rms / peak: median %.4f, mean %.4f, 5 %% to 95 %% %.4f to %.4f\n", len(rms), at(0.5), mean, at(0.05), at(0.95))
	return err
}

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
		return term.BadInput("dataset cosmos: --size is %d, expected 16 to 512", size)
	case !(low >= 0 && high > low):
		return term.BadInput("dataset cosmos: --min-snr is %g and --max-snr %g, expected 0 <= min < max", low, high)
	case !(test >= 0 && validation >= 0 && test+validation < 1):
		return term.BadInput("dataset cosmos: --test is %g and --validation %g, expected shares that leave something", test, validation)
	}
	list, err := galaxies.ReadRealGalaxies(args[0])
	if err != nil {
		return err
	}
	report := term.NewProgress(c.App.ErrWriter, c.Bool("quiet"))
	viable := make([]bool, len(list))
	for i := range viable {
		viable[i] = true
	}
	files := c.String("fits")
	if files == "" {
		guess := strings.TrimSuffix(args[0], ".fits") + "_fits.fits"
		if _, err := fits.ReadTable(guess); err == nil {
			files = guess
		} else {
			report.Say("%s: not there: no galaxy is left out for its Sersic fit", guess)
		}
	}
	if files != "" {
		if viable, err = galaxies.ViableSersic(files, len(list)); err != nil {
			return err
		}
	}
	order := make([]int, len(list))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return strings.Compare(list[a].File, list[b].File) })
	type image struct {
		row int
		pix []float64
	}
	var kept []image
	left := map[string]int{}
	var hdus []fits.HDU
	var data *fits.Data
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
		if g.File != open {
			if data != nil {
				data.Close()
				data = nil
			}
			if hdus, data, err = fits.Open(g.File); err != nil {
				return err
			}
			open = g.File
			report.Say("%s: galaxy %d of %d", filepath.Base(g.File), n+1, len(list))
		}
		if g.Hdu >= len(hdus) {
			return term.BadInput("%s: has %d HDUs, and the catalogue's row %d names number %d", g.File, len(hdus), i+1, g.Hdu)
		}
		m, err := hdus[g.Hdu].Read(data)
		if err != nil {
			return err
		}
		w, h, pix, err := m.Plane()
		if err != nil {
			return err
		}
		if min(w, h) < size {
			left[fmt.Sprintf("smaller than %d pixels", size)]++
			continue
		}
		square := galaxies.CentreSquare(pix, w, h)
		side := min(w, h)
		snr := galaxies.Quarter(square, side, side) / g.Sigma
		small := galaxies.Shrink(square, side, size)
		peak := slices.Max(small)
		switch {
		case slices.ContainsFunc(small, func(v float64) bool { return !term.Finite(v) }) || !(peak > 0):
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
		report.Say("left out %d galaxies: %s", left[why], why)
	}
	slices.SortFunc(kept, func(a, b image) int { return a.row - b.row })
	rng := rand.New(rand.NewPCG(c.Uint64("seed"), 0x636f736d6f73))
	rng.Shuffle(len(kept), func(i, j int) { kept[i], kept[j] = kept[j], kept[i] })
	nTest, nValidation := int(math.Round(test*float64(len(kept)))), int(math.Round(validation*float64(len(kept))))
	if len(kept)-nTest-nValidation < 1 {
		return term.BadInput("%s: found %d galaxies that pass the cuts, expected more", args[0], len(kept))
	}
	if err := rundir.Prepare(dir); err != nil {
		return err
	}
	counts := map[string]any{"galaxies": len(list), "left_out": left}
	from := 0
	for _, part := range []struct {
		name string
		n    int
	}{{"test", nTest}, {"validation", nValidation}, {"train", len(kept) - nTest - nValidation}} {
		set := &galaxies.PreparedSet{Size: size}
		for _, k := range kept[from : from+part.n] {
			set.Pix = append(set.Pix, k.pix...)
			set.IDs = append(set.IDs, list[k.row].ID)
		}
		from += part.n
		counts[part.name] = part.n
		if part.n == 0 {
			continue
		}
		path := filepath.Join(dir, part.name+".fits")
		origin := fmt.Sprintf("dataset cosmos %s --seed %d", filepath.Base(args[0]), c.Uint64("seed"))
		if err := fits.Write(path, fits.Out{Axes: []int{size, size, part.n}, Pix: set.Pix, Cards: []fits.Key{{Name: galaxies.OriginKey, Value: origin}}}); err != nil {
			return err
		}
		if !c.Bool("json") {
			fmt.Fprintf(c.App.Writer, "%s: %d images of %d x %d pixels\n", path, part.n, size, size)
		}
	}
	if c.Bool("json") {
		return rundir.EncodeJSON(c.App.Writer, counts)
	}
	return nil
}

func datasetPrepareCommand() *cli.Command {
	return &cli.Command{
		Name:      "prepare",
		Usage:     "make a training set of galaxy cut-outs: a FITS cube, or a folder of FITS files",
		ArgsUsage: "CUBE.fits|FOLDER",
		Description: "Of each image the centre square is scaled down to --size, the median of its border taken off, the edges faded to 0, and the\n" +
			"rest divided by its peak. Images whose peak does not stand out are left out. A catalogue names the galaxy that each plane\n" +
			"shows (column id) and its signal to noise (column peak_snr); without one each image is a galaxy of its own, and its signal\n" +
			"to noise is its peak over the scatter of its border. Beside each FITS file written stands a CSV file with the planes' ids.\n" +
			"Example: lenskit dataset prepare galaxies_64.fits --catalog galaxies_64.csv --hold 0.2 --held held.fits -o train.fits",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "o", Aliases: []string{"output"}, Usage: "the FITS `FILE` to write"},
			&cli.StringFlag{Name: "catalog", Usage: "a CSV `FILE` with a row for each plane"},
			&cli.StringFlag{Name: "held", Usage: "a FITS `FILE` for the galaxies held back"},
			&cli.Float64Flag{Name: "hold", Usage: "share of the galaxies to hold back, all planes of a galaxy together"},
			&cli.Float64Flag{Name: "min-snr", Usage: "least signal to noise of the peak", Value: 20},
			&cli.Float64Flag{Name: "max-snr", Usage: "largest; 0: no limit"},
			&cli.Float64Flag{Name: "noise", Usage: "standard deviation of a pixel of every image; 0: that of its border"},
			&cli.IntFlag{Name: "size", Usage: "pixels on a side", Value: 64},
			&cli.IntFlag{Name: "taper", Usage: "pixels at the edges over which the image fades", Value: 6},
			&cli.Uint64Flag{Name: "seed", Usage: "of the choice of galaxies held back", Value: 1},
		},
		Action: datasetPrepare,
	}
}

func datasetPrepare(c *cli.Context) error {
	args, err := arguments(c, "CUBE.fits|FOLDER")
	if err != nil {
		return err
	}
	path, err := output(c, "FILE")
	if err != nil {
		return err
	}
	o := galaxies.PrepareOptions{Size: c.Int("size"), Taper: c.Int("taper"), Noise: c.Float64("noise"), MinSNR: c.Float64("min-snr"), MaxSNR: c.Float64("max-snr")}
	hold, held := c.Float64("hold"), c.String("held")
	switch {
	case o.Size < 16 || o.Size > 512:
		return term.BadInput("dataset prepare: --size is %d, expected 16 to 512", o.Size)
	case o.Taper < 0 || o.Taper > o.Size/2:
		return term.BadInput("dataset prepare: --taper is %d, expected 0 to %d", o.Taper, o.Size/2)
	case o.Noise < 0 || !term.Finite(o.Noise):
		return term.BadInput("dataset prepare: --noise is %g, expected 0 or more", o.Noise)
	case !(hold >= 0 && hold < 1):
		return term.BadInput("dataset prepare: --hold is %g, expected a share below 1", hold)
	case (hold > 0) != (held != ""):
		return term.BadInput("dataset prepare: --hold is %g and --held %q, expected both or neither", hold, held)
	}
	report := term.NewProgress(c.App.ErrWriter, c.Bool("quiet"))
	set := &galaxies.PreparedSet{}
	left := map[string]int{}
	add := func(g galaxies.Cutout) {
		if why := o.Prepare(set, g); why != "" {
			left[why]++
		}
	}
	if info, err := os.Stat(args[0]); err == nil && info.IsDir() {
		if c.String("catalog") != "" {
			return term.BadInput("dataset prepare: --catalog goes with a cube, found the folder %s", args[0])
		}
		err = galaxies.EachInFolder(args[0], report, add)
		if err != nil {
			return err
		}
	} else if err := galaxies.EachInCube(args[0], c.String("catalog"), report, add); err != nil {
		return err
	}
	return galaxies.WritePrepared(set, left, galaxies.WriteOptions{Input: args[0], Output: path, Held: held, Hold: hold, Seed: c.Uint64("seed"), JSON: c.Bool("json")}, c.App.Writer, report)
}
