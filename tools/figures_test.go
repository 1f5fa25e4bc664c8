package tools

import (
	"archive/zip"
	"context"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"testing"

	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/termtest"
	"lenskit/tools/internal/testkit"
	"lenskit/tools/sample"
	"lenskit/tools/search"
	"lenskit/tools/survey"
)

var update = flag.Bool("update", false, "write the figures under testdata/figures anew")

// What a figure may be off the golden one: so large a share of its pixels by more than so many of 255 levels.
const (
	figureShare  = 0.002
	figureLevels = 12
	figureShrink = 3 // the golden ones are kept at a third of their size
)

// TestFiguresAreTheGoldenOnes draws the figures of one run, kept in run.zip, of a survey of it, and of a decoder, and holds them
// to the ones under testdata/figures. After a change that is meant, look at what changed and run it with -update.
func TestFiguresAreTheGoldenOnes(t *testing.T) {
	run := t.TempDir()
	unpack := func(dir string) {
		t.Helper()
		z, err := zip.OpenReader(filepath.Join("testdata", "figures", "run.zip"))
		if err != nil {
			t.Fatal(err)
		}
		defer z.Close()
		for _, f := range z.File {
			text, err := z.Open(f.Name)
			if err != nil {
				t.Fatal(err)
			}
			defer text.Close()
			out, err := os.Create(filepath.Join(dir, f.Name))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := out.ReadFrom(text); err != nil {
				t.Fatal(err)
			}
			if err := out.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	unpack(run)
	made, err := sample.Plot(run, false)
	if err != nil {
		t.Fatal(err)
	}
	if len(made) != 4 {
		t.Errorf("got %q", made)
	}
	for _, path := range made {
		golden(t, filepath.Base(path), path)
	}
	t.Run("survey", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "survey")
		opt := survey.PlanOptions{Inputs: []string{filepath.Join(run, rundir.ConfigYAML)}, Output: dir, Search: search.Options{Seed: 1}.Defaults(), Device: "cpu",
			Scheduler: "slurm", PerTask: 1, CPUs: 1, Time: "1:00", Memory: 1000, Program: "lenskit"}
		if _, err := survey.Plan(opt); err != nil {
			t.Fatal(err)
		}
		s, err := survey.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		lens := filepath.Join(dir, s.Lenses[0].Name)
		if err := os.Mkdir(lens, 0o777); err != nil {
			t.Fatal(err)
		}
		unpack(lens)
		if _, err := sample.Plot(lens, false); err != nil {
			t.Fatal(err)
		}
		made, rows, err := survey.Merge(context.Background(), survey.MergeOptions{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		sheets := 0
		for _, path := range made {
			if filepath.Ext(path) == ".png" {
				sheets++
				golden(t, "survey.png", path)
			}
		}
		if sheets != 1 {
			t.Errorf("made %q of %+v", made, rows)
		}
	})
	t.Run("vae", func(t *testing.T) {
		termtest.NeedRuntime(t)
		bundle, dir := filepath.Join(t.TempDir(), "bundle"), t.TempDir()
		testkit.MustRun(t, "export-vae", filepath.Join("vae", "testdata", "vae_small.pt"), "-o", bundle, "--quiet")
		testkit.MustRun(t, "plot", bundle, "-o", dir, "--quiet")
		golden(t, rundir.FileVAEDraws, filepath.Join(dir, rundir.FileVAEDraws))
	})
}

// golden compares the figure at path with the golden one of a name, or replaces that.
func golden(t *testing.T, name, path string) {
	t.Helper()
	read := func(path string) image.Image {
		t.Helper()
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		img, err := png.Decode(f)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		return img
	}
	got, kept := shrunk(read(path)), filepath.Join("testdata", "figures", name)
	if *update {
		f, err := os.Create(kept)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := png.Encode(f, got); err != nil {
			t.Fatal(err)
		}
		return
	}
	if why := differ(got, read(kept)); why != "" {
		t.Errorf("%s: %s", name, why)
	}
}

// shrunk averages blocks of pixels: a line half a pixel aside is no difference.
func shrunk(img image.Image) *image.RGBA {
	b := img.Bounds()
	out := image.NewRGBA(image.Rect(0, 0, b.Dx()/figureShrink, b.Dy()/figureShrink))
	for j := range out.Rect.Dy() {
		for i := range out.Rect.Dx() {
			var sum [3]uint32
			for k := range figureShrink * figureShrink {
				c := color.RGBAModel.Convert(img.At(b.Min.X+i*figureShrink+k%figureShrink, b.Min.Y+j*figureShrink+k/figureShrink)).(color.RGBA)
				sum[0], sum[1], sum[2] = sum[0]+uint32(c.R), sum[1]+uint32(c.G), sum[2]+uint32(c.B)
			}
			const n = figureShrink * figureShrink
			out.SetRGBA(i, j, color.RGBA{R: uint8(sum[0] / n), G: uint8(sum[1] / n), B: uint8(sum[2] / n), A: 0xff})
		}
	}
	return out
}

// differ says how two figures differ, "" where they do not by more than they may.
func differ(a, b image.Image) string {
	if a.Bounds().Size() != b.Bounds().Size() {
		return fmt.Sprintf("is of %v pixels, was of %v", a.Bounds().Size(), b.Bounds().Size())
	}
	size, off := a.Bounds().Size(), 0
	for j := range size.Y {
		for i := range size.X {
			c := color.RGBAModel.Convert(a.At(i, j)).(color.RGBA)
			d := color.RGBAModel.Convert(b.At(i, j)).(color.RGBA)
			if max(levelsApart(c.R, d.R), levelsApart(c.G, d.G), levelsApart(c.B, d.B)) > figureLevels {
				off++
			}
		}
	}
	if share := float64(off) / float64(size.X*size.Y); share > figureShare {
		return fmt.Sprintf("%.2f %% of the pixels differ, expected at most %.1f %%", 100*share, 100*figureShare)
	}
	return ""
}

func levelsApart(a, b uint8) int { return max(int(a)-int(b), int(b)-int(a)) }

// TestAChangedFigureIsNoticed: what the golden figures would miss if they were held loosely.
func TestAChangedFigureIsNoticed(t *testing.T) {
	f, err := os.Open(filepath.Join("testdata", "figures", rundir.CornerPNG))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	size := img.Bounds().Size()
	changed := func(f func(i, j int, c color.RGBA) color.RGBA) image.Image {
		out := image.NewRGBA(image.Rectangle{Max: size})
		for j := range size.Y {
			for i := range size.X {
				out.SetRGBA(i, j, f(i, j, color.RGBAModel.Convert(img.At(i, j)).(color.RGBA)))
			}
		}
		return out
	}
	at := func(i, j int) color.RGBA { return color.RGBAModel.Convert(img.At(i, j)).(color.RGBA) }
	for _, row := range []struct {
		name    string
		to      image.Image
		noticed bool
	}{
		{"itself", img, false},
		{"a little brighter", changed(func(i, j int, c color.RGBA) color.RGBA { c.R -= min(c.R, 3); return c }), false},
		{"moved by a pixel", changed(func(i, j int, c color.RGBA) color.RGBA { return at(max(i-1, 0), j) }), true},
		{"mirrored", changed(func(i, j int, c color.RGBA) color.RGBA { return at(size.X-1-i, j) }), true},
		{"another colour", changed(func(i, j int, c color.RGBA) color.RGBA { return color.RGBA{R: c.B, G: c.G, B: c.R, A: c.A} }), true},
		{"cut", image.NewRGBA(image.Rect(0, 0, size.X-1, size.Y)), true},
	} {
		if why := differ(row.to, img); (why != "") != row.noticed {
			t.Errorf("%s: got %q", row.name, why)
		}
	}
}
