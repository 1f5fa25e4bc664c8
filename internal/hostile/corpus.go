//go:build unix

// Package hostile makes files that no reader of lenskit may trust, runs lenskit on them and holds what must hold then: an
// exit code that is documented, one line that says what is wrong, bounded memory and time.
//
// A case is a few files and a command line. Most are sound files made by lenskit itself and changed at one place, by a
// generator of random numbers with a seed, so that the same seed makes the same changes; the others are written by hand.
package hostile

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
)

// Case is a command line and the files that it finds in its folder.
type Case struct {
	Name  string
	Kind  string                   // the reader that it is for
	Args  []string                 // of lenskit, without its name
	Base  []string                 // sound files and folders, as makeSeeds leaves them
	Files map[string][]byte        // files put beside them or in their place
	Later map[string]func() []byte // those that are made when the case is run
	// what is no plain file: fifo, zero (a link to /dev/zero), folder, dangling or loop (a link to itself)
	Special map[string]string
	Sparse  map[string]int64 // files that are made so long without taking place
	Note    string           // what was changed
	Slow    bool             // takes seconds even where all is well
	Runs    bool             // is known to keep running until it is stopped, as it should: only signals are of interest
}

// corpus collects cases over the sound files in a folder.
type corpus struct {
	dir   string
	seed  uint64
	cases []Case
	err   error
}

// Corpus makes the sound files in the folder dir with the binary, and from them the cases of a seed; each kind of change is
// made times times to each file that it fits. Of a root that holds lenskit's sources the tests' catalogues are taken, too.
func Corpus(binary, dir, root string, seed uint64, times int) ([]Case, error) {
	if err := makeSeeds(binary, dir); err != nil {
		return nil, err
	}
	c := &corpus{dir: dir, seed: seed}
	if root != "" {
		for _, name := range []string{"real_galaxy_catalog.fits", "real_galaxy_catalog_fits.fits", "real_galaxy_images.fits"} {
			if b, err := os.ReadFile(filepath.Join(root, "tools", "testdata", name)); err == nil {
				if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
					return nil, err
				}
			}
		}
	}
	c.byHand()
	c.specialFiles()
	c.mutations(times)
	sort.SliceStable(c.cases, func(i, j int) bool { return c.cases[i].Name < c.cases[j].Name })
	return c.cases, c.err
}

// read is a sound file.
func (c *corpus) read(name string) []byte {
	b, err := os.ReadFile(filepath.Join(c.dir, name))
	if err != nil && c.err == nil {
		c.err = err
	}
	return b
}

// target is a file that is changed, the commands that read it, and what they need beside it.
type target struct {
	kind, file string
	base       string // separated by blanks
	change     func(*rand.Rand, []byte) ([]byte, string)
	lines      []string
	weight     int // how many times more often than others; 0: once
}

const (
	quickFit    = " --starts 1 --iterations 2 --quiet"
	quickSample = " --draws 4 --warmup 4 --chains 1 --quiet"
	bareImage   = " --noise 0.05 --psf none --pixel-scale 0.15 -o o" + quickFit // with the network in the binary: 20 s of the processor
	imageFit    = "fit image.yaml -o o" + quickFit
)

var targets = []target{
	{"onnx", "b/decoder.onnx", "m.yaml m.fits b", damage, []string{"eval m.yaml --grad --quiet", "onnx inspect b/decoder.onnx --quiet", "fit m.yaml -o o" + quickFit}, 2},
	{"onnx", "net.onnx", "z.npy", damage, []string{"onnx inspect net.onnx", "onnx run net.onnx --input z=z.npy -o out --quiet", "onnx run net.onnx --input z=z.npy -o out --device reference --quiet",
		"onnx vjp net.onnx -o v.onnx --quiet", "onnx jvp net.onnx --columns 4 -o j.onnx --quiet"}, 2},
	{"onnx", "vb/decoder.onnx", "vb", damage, []string{"onnx inspect vb/decoder.onnx", "plot vb -o o --quiet"}, 1},
	{"onnx", "vb/encoder.onnx", "vb g64.fits", damage, []string{"dataset check g64.fits --model vb --quiet",
		"train-vae g64.fits -o o --encoder vb/encoder.onnx --decoder vb/decoder.onnx --epochs 1 --samples 1 --batch 16 --quiet"}, 1},
	{"pt", "x.pt", "", damage, []string{"weights x.pt", "export-vae x.pt -o eb --quiet"}, 2},
	{"pt", "old.pt", "", damage, []string{"weights old.pt --json", "export-vae old.pt -o eb --quiet"}, 2},
	{"safetensors", "x.safetensors", "", damage, []string{"weights x.safetensors", "export-vae x.safetensors -o eb --quiet"}, 1},
	{"safetensors", "x.safetensors", "", retell, []string{"weights x.safetensors --json", "export-vae x.safetensors --to-torch y.safetensors --quiet"}, 1},
	{"safetensors", "t/best.safetensors", "t g64.fits", retell, []string{"export-vae t -o eb --quiet", "plot t --quiet"}, 1},
	{"fits", "m.fits", "m.yaml m.fits b", retitle, []string{"eval m.yaml --quiet", "fit m.yaml -o o" + quickFit, "mock m.yaml -o o.fits --quiet"}, 2},
	{"fits", "g.fits", "g.fits", retitle, []string{"dataset show g.fits -o p.png --quiet", "dataset bundle g.fits -o b2 --latents 2 --quiet", "dataset prepare g.fits -o p.fits --size 16 --quiet"}, 1},
	{"fits", "noise.fits", "m.fits psf.fits rich.yaml", retitle, []string{"eval rich.yaml --quiet"}, 1},
	{"fits", "psf.fits", "m.fits noise.fits rich.yaml", retitle, []string{"eval rich.yaml --quiet"}, 1},
	{"fits", "mask.fits", "m.fits masked.yaml b", retitle, []string{"eval masked.yaml --quiet"}, 1},
	{"fits", "f/fit.fits", "f m.yaml m.fits b", retitle, []string{"plot f --quiet", "export-coolest f -o c2 --lens-redshift 0.3 --source-redshift 1 --quiet"}, 1},
	{"fits", "f/samples.fits", "f m.yaml m.fits b", retitle, []string{"plot f --quiet"}, 1},
	{"gz", "gz.fits.gz", "", damage, []string{"eval image.yaml --quiet", imageFit, "dataset show gz.fits.gz -o p.png --quiet"}, 1},
	{"bz2", "bz.fits.bz2", "", damage, []string{"eval image.yaml --quiet", imageFit}, 1},
	{"xz", "xz.fits.xz", "", damage, []string{"eval image.yaml --quiet", imageFit}, 1},
	{"fz", "gzip.fits.fz", "", retitle, []string{"eval image.yaml --quiet", imageFit, "dataset show gzip.fits.fz -o p.png --quiet"}, 2},
	{"fz", "rice.fits.fz", "", retitle, []string{"eval image.yaml --quiet", imageFit, "dataset show rice.fits.fz -o p.png --quiet"}, 2},
	{"yaml", "m.yaml", "m.fits b", retell, []string{"eval m.yaml --grad --quiet", "fit m.yaml -o o" + quickFit, "mock m.yaml -o o.fits --quiet", "deflect m.yaml --points points.csv --quiet"}, 2},
	{"yaml", "rich.yaml", "m.fits noise.fits psf.fits", retell, []string{"eval rich.yaml --grad --quiet", "mock rich.yaml -o o.fits --quiet"}, 3},
	{"json", "m.truth.json", "m.yaml m.fits b", retell, []string{"eval m.yaml --params m.truth.json --grad --quiet", "mock m.yaml --params m.truth.json -o o.fits --quiet",
		"deflect m.yaml --params m.truth.json --points points.csv --quiet"}, 1},
	{"csv", "points.csv", "m.yaml m.fits b", retell, []string{"deflect m.yaml --points points.csv --quiet"}, 2},
	{"csv", "g.csv", "g.fits", retell, []string{"dataset prepare g.fits --catalog g.csv --hold 0.2 --held h.fits -o p.fits --size 16 --quiet"}, 1},
	{"npy", "z.npy", "net.onnx", retell, []string{"onnx run net.onnx --input z=z.npy -o out --quiet"}, 2},
	{"checkpoint", "cf/checkpoint", "m.yaml m.fits b cf", retell, []string{fitStopped}, 3},
	{"checkpoint", "cs/checkpoint", "m.yaml m.fits b cs", retell, []string{sampleStopped}, 3},
	{"checkpoint", "ct/checkpoint.safetensors", "g64.fits ct", retell, []string{trainStopped, "export-vae ct -o eb --quiet"}, 2},
	{"run", "f/fit.json", "f m.yaml m.fits b", retell, []string{"plot f --quiet", "sample f -o o" + quickSample, "export-coolest f -o c2 --lens-redshift 0.3 --source-redshift 1 --quiet",
		"eval m.yaml --params f/fit.json --quiet"}, 1},
	{"run", "f/config.yaml", "f m.yaml m.fits b", retell, []string{"plot f --quiet", "sample f" + quickSample, "export-coolest f -o c2 --lens-redshift 0.3 --source-redshift 1 --quiet"}, 1},
	{"run", "f/samples_1.csv", "f m.yaml m.fits b", retell, []string{"plot f --quiet", "export-coolest f -o c2 --lens-redshift 0.3 --source-redshift 1 --quiet"}, 2},
	{"run", "f/summary.json", "f m.yaml m.fits b", retell, []string{"plot f --quiet", "export-coolest f -o c2 --lens-redshift 0.3 --source-redshift 1 --quiet"}, 1},
	{"bundle", "b/prior.json", "m.yaml m.fits b", retell, []string{"eval m.yaml --grad --quiet", "fit m.yaml -o o" + quickFit}, 1},
	{"bundle", "vb/prior.json", "vb", retell, []string{"plot vb -o o --quiet"}, 2},
	{"bundle", "vb/card.md", "vb", retell, []string{"plot vb -o o --quiet"}, 1},
	{"coolest", "c/coolest.json", "c", retell, []string{"eval c/coolest.json --quiet", "mock c/coolest.json -o o.fits --quiet"}, 2},
	{"survey", "s/survey.json", "s m.yaml m.fits b lens.csv", retell, []string{"survey run s --index 1 --force --quiet", "survey status s --quiet", "survey merge s --quiet"}, 1},
	{"survey", "s/manifest.csv", "s m.yaml m.fits b lens.csv", retell, []string{"survey run s --index 1 --quiet", "survey status s", "survey merge s --quiet"}, 1},
	{"survey", "s/one/survey-status.json", "s m.yaml m.fits b lens.csv", retell, []string{"survey run s --index 1 --quiet", "survey status s", "survey merge s --quiet"}, 1},
	{"survey", "s/one/fit.json", "s m.yaml m.fits b lens.csv", retell, []string{"survey run s --index 1 --quiet", "survey status s", "survey merge s --quiet"}, 2},
	{"survey", "lens.csv", "m.yaml m.fits b", retell, []string{"survey plan lens.csv -o s2 --quiet"}, 1},
	{"dataset", "g64.fits", "vb", retitle, []string{"train-vae g64.fits -o o --epochs 1 " + trainFlags, "dataset check g64.fits --model vb --quiet"}, 1},
	{"dataset", "real_galaxy_catalog.fits", "real_galaxy_catalog_fits.fits real_galaxy_images.fits", retitle, []string{"dataset cosmos real_galaxy_catalog.fits -o o --size 16 --quiet"}, 2},
	{"dataset", "real_galaxy_catalog_fits.fits", "real_galaxy_catalog.fits real_galaxy_images.fits", retitle, []string{"dataset cosmos real_galaxy_catalog.fits -o o --size 16 --quiet"}, 1},
	{"dataset", "real_galaxy_images.fits", "real_galaxy_catalog.fits real_galaxy_catalog_fits.fits", retitle, []string{"dataset cosmos real_galaxy_catalog.fits -o o --size 16 --quiet"}, 1},
}

func (c *corpus) mutations(times int) {
	// the config of the mock with a mask beside it
	masked := strings.Replace(string(c.read("m.yaml")), "pixel_scale: 0.15", "pixel_scale: 0.15\n  mask: {file: mask.fits}", 1)
	if err := os.WriteFile(filepath.Join(c.dir, "masked.yaml"), []byte(masked), 0o644); err != nil && c.err == nil {
		c.err = err
	}
	for _, t := range targets {
		if _, err := os.Stat(filepath.Join(c.dir, t.file)); err != nil && strings.HasPrefix(t.file, "real_") {
			continue
		}
		sound := c.read(t.file)
		base := append(strings.Fields(t.base), "points.csv")
		for _, line := range t.lines {
			for i := range times * max(1, t.weight) {
				name := fmt.Sprintf("%s/%s/%s/%d", t.kind, t.file, strings.Join(strings.Fields(line)[:2], "-"), i)
				h := fnv.New64a()
				h.Write([]byte(name + line))
				r := rand.New(rand.NewPCG(c.seed, h.Sum64()))
				b, note := t.change(r, sound)
				if r.IntN(6) == 0 {
					var more string
					b, more = t.change(r, b)
					note += ", " + more
				}
				files := map[string][]byte{t.file: b}
				if strings.Contains(line, "image.yaml") {
					files["image.yaml"] = imageConfig("image: " + t.file)
				}
				k := Case{Name: name, Kind: t.kind, Args: strings.Fields(line), Base: base, Files: files, Note: note}
				k.Runs = line == sampleStopped || line == trainStopped || line == fitStopped
				c.cases = append(c.cases, k)
			}
		}
	}
}

// imageConfig is a config without a network whose data reads what the key says, beside what else it needs.
func imageConfig(key string) []byte {
	data := "noise: 0.05, pixel_scale: 0.15, " + key
	if !strings.HasPrefix(key, "image") {
		data += ", image: m.fits"
	}
	return []byte("data: {" + data + "}\nlens: [{type: sie}]\nsource: [{type: gaussian}]\n")
}

// specialFiles names what is no plain file to each reader.
func (c *corpus) specialFiles() {
	for _, t := range []struct{ file, base, line string }{
		{"net.onnx", "", "onnx inspect net.onnx"}, {"net.onnx", "z.npy", "onnx run net.onnx --input z=z.npy -o out --quiet"},
		{"b/decoder.onnx", "m.yaml m.fits b", "eval m.yaml --quiet"}, {"b/prior.json", "m.yaml m.fits b", "eval m.yaml --quiet"},
		{"vb/card.md", "vb", "plot vb -o o --quiet"}, {"z.npy", "net.onnx", "onnx run net.onnx --input z=z.npy -o out --quiet"},
		{"x.pt", "", "weights x.pt"}, {"x.pth", "", "export-vae x.pth -o eb --quiet"}, {"x.safetensors", "", "weights x.safetensors"},
		{"t/best.safetensors", "t g64.fits", "export-vae t -o eb --quiet"}, {"ct/checkpoint.safetensors", "ct g64.fits", trainStopped},
		{"m.fits", "m.yaml b", "eval m.yaml --quiet"}, {"m.fits", "", "fit m.fits" + bareImage}, {"m.fits.gz", "", "fit m.fits.gz" + bareImage},
		{"noise.fits", "m.fits psf.fits rich.yaml", "eval rich.yaml --quiet"}, {"psf.fits", "m.fits noise.fits rich.yaml", "eval rich.yaml --quiet"},
		{"g.fits", "", "dataset show g.fits -o p.png --quiet"}, {"g.csv", "g.fits", "dataset prepare g.fits --catalog g.csv -o p.fits --size 16 --quiet"},
		{"g64.fits", "", "train-vae g64.fits -o o --epochs 1 " + trainFlags},
		{"m.yaml", "m.fits b", "eval m.yaml --quiet"}, {"m.yaml", "m.fits b", "fit m.yaml -o o" + quickFit},
		{"P.json", "m.yaml m.fits b", "eval m.yaml --params P.json --quiet"}, {"points.csv", "m.yaml m.fits b", "deflect m.yaml --points points.csv --quiet"},
		{"cf/checkpoint", "m.yaml m.fits b cf", fitStopped}, {"cs/checkpoint", "m.yaml m.fits b cs", sampleStopped},
		{"f/fit.json", "f m.yaml m.fits b", "plot f --quiet"}, {"f/fit.json", "f m.yaml m.fits b", "sample f" + quickSample}, {"f/config.yaml", "f m.yaml m.fits b", "sample f" + quickSample},
		{"f/fit.fits", "f m.yaml m.fits b", "plot f --quiet"}, {"f/samples_1.csv", "f m.yaml m.fits b", "plot f --quiet"}, {"f/summary.json", "f m.yaml m.fits b", "plot f --quiet"},
		{"f/samples.fits", "f m.yaml m.fits b", "plot f --quiet"},
		{"c/coolest.json", "c", "eval c/coolest.json --quiet"}, {"c/data.fits", "c", "eval c/coolest.json --quiet"},
		{"s/survey.json", "s m.yaml m.fits b", "survey status s"}, {"s/manifest.csv", "s m.yaml m.fits b", "survey status s"},
		{"s/one/survey-status.json", "s m.yaml m.fits b", "survey status s"}, {"s/one/survey-status.json", "s m.yaml m.fits b", "survey run s --index 1 --quiet"},
		{"s/one/fit.json", "s m.yaml m.fits b", "survey merge s --quiet"}, {"s/one/fit.fits", "s m.yaml m.fits b", "survey merge s --quiet"}, {"m.yaml", "s m.fits b", "survey run s --index 1 --quiet"},
		{"m.fits", "s m.yaml b", "survey run s --index 2 --quiet"}, {"lens.csv", "m.yaml m.fits", "survey plan lens.csv -o s2 --quiet"},
	} {
		for _, special := range []string{"fifo", "zero", "folder", "dangling", "loop"} {
			args := strings.Fields(t.line)
			c.cases = append(c.cases, Case{Name: fmt.Sprintf("special/%s/%s/%s", t.file, strings.Join(args[:2], "-"), special), Kind: "special", Args: args,
				Base: strings.Fields(t.base), Special: map[string]string{t.file: special}, Note: t.file + " is " + special,
				Runs: strings.Contains(t.file, "checkpoint")})
		}
	}
}

// lay puts the files of a case into the folder to, and tells how many bytes they hold.
func (k *Case) lay(from, to string) (size int64, err error) {
	for _, name := range k.Base {
		if err := copyTree(filepath.Join(from, name), filepath.Join(to, name)); err != nil {
			return 0, err
		}
	}
	clear := func(name string) (string, error) {
		path := filepath.Join(to, name)
		if err := os.RemoveAll(path); err != nil {
			return "", err
		}
		return path, os.MkdirAll(filepath.Dir(path), 0o755)
	}
	for name, b := range k.Files {
		path, err := clear(name)
		if err != nil {
			return 0, err
		}
		if err := os.WriteFile(path, b, 0o644); err != nil {
			return 0, err
		}
	}
	for name, make := range k.Later {
		path, err := clear(name)
		if err != nil {
			return 0, err
		}
		if err := os.WriteFile(path, make(), 0o644); err != nil {
			return 0, err
		}
	}
	for name, n := range k.Sparse {
		path := filepath.Join(to, name)
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
		if err != nil {
			return 0, err
		}
		err = f.Truncate(n)
		f.Close()
		if err != nil {
			return 0, err
		}
	}
	for name, kind := range k.Special {
		path, err := clear(name)
		if err != nil {
			return 0, err
		}
		switch kind {
		case "fifo":
			err = syscall.Mkfifo(path, 0o644)
		case "zero":
			err = os.Symlink("/dev/zero", path)
		case "folder":
			err = os.Mkdir(path, 0o755)
		case "dangling":
			err = os.Symlink("nowhere", path)
		case "loop":
			err = os.Symlink(filepath.Base(path), path)
		default:
			err = fmt.Errorf("%s: unknown kind of file %q", k.Name, kind)
		}
		if err != nil {
			return 0, err
		}
	}
	err = filepath.WalkDir(to, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		if info, err := d.Info(); err == nil {
			// what a sparse file does not take up is none of its size
			if s, ok := info.Sys().(*syscall.Stat_t); ok {
				size += min(info.Size(), int64(s.Blocks)*512+4096)
			}
		}
		return nil
	})
	return size, err
}

func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		if d.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		return os.WriteFile(target, b, 0o644)
	})
}
