package vae

import (
	"bytes"
	"context"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lenskit/internal/check"
	"lenskit/onnx"
	"lenskit/onnx/diff"
	"lenskit/onnx/eval"
	"lenskit/onnx/ort"
	"lenskit/tools/config"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/tensors"
	"lenskit/tools/internal/term"
	"lenskit/tools/internal/termtest"
	"lenskit/tools/internal/testkit"
)

// customPair writes an encoder and a decoder of the given numbers of latents for 16 x 16 images. The encoder's outputs
// are named in outs: one of 2L numbers, or two of L.
func customPair(t *testing.T, dir string, encoderLatents, decoderLatents int64, outs ...string) (encoder, decoder string) {
	t.Helper()
	rng := rand.New(rand.NewPCG(4, 4))
	draw := func(shape ...int64) *onnx.Tensor {
		x := onnx.FloatTensor(nil, shape...)
		x.Floats = make([]float32, x.Size())
		for i := range x.Floats {
			x.Floats[i] = float32(0.1 * rng.NormFloat64())
		}
		return x
	}
	graph := func(name string, in onnx.Value) (*onnx.Builder, func(name string, x *onnx.Tensor) string) {
		g := &onnx.Graph{Name: name, Opset: map[string]int{"": 20}, Inputs: []onnx.Value{in}, Init: map[string]*onnx.Tensor{}}
		b := onnx.NewBuilder(g, "")
		return b, func(name string, x *onnx.Tensor) string {
			g.Init[name] = x
			return name
		}
	}
	save := func(b *onnx.Builder, file string) string {
		if err := b.Err(); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, file)
		if err := b.G.Save(path); err != nil {
			t.Fatal(err)
		}
		return path
	}
	b, w := graph("e", batchInput("picture", 1, 16, 16))
	x := b.OpAttr("Conv", map[string]onnx.Attr{"strides": onnx.IntsAttr(4, 4)}, "picture", w("conv", draw(6, 1, 4, 4)))
	x = b.Op("Mul", b.Op("Relu", x), b.Scalar(2)) // a constant that is not to be trained
	x = b.Op("Flatten", x)
	for _, out := range outs {
		L := encoderLatents
		if len(outs) == 1 {
			L *= 2
		}
		b.OutputAs(out, b.OpAttr("Gemm", map[string]onnx.Attr{"transB": onnx.IntAttr(1)}, x, w("head"+out, draw(L, 96)), w("bias"+out, draw(L))))
	}
	encoder = save(b, "e.onnx")
	b, w = graph("d", batchInput("latents", decoderLatents, 1, 1))
	x = b.OpAttr("ConvTranspose", nil, "latents", w("first", draw(decoderLatents, 5, 4, 4)))
	x = b.Op("Relu", b.Op("BatchNormalization", x, w("norm.weight", draw(5)), w("norm.bias", draw(5)), w("norm.running_mean", draw(5)), w("norm.running_var", onnx.FloatTensor([]float32{1, 2, 0.5, 1, 1}, 5))))
	x = b.OpAttr("Resize", map[string]onnx.Attr{"mode": onnx.StringAttr("nearest")}, x, "", w("scales", onnx.FloatTensor([]float32{1, 1, 4, 4}, 4)))
	x = b.OpAttr("Conv", map[string]onnx.Attr{"pads": onnx.IntsAttr(1, 1, 1, 1)}, x, w("last", draw(1, 5, 3, 3)))
	b.OutputAs("drawn", b.Op("Sigmoid", x))
	return encoder, save(b, "d.onnx")
}

func TestCustomTrainingFormsAreAllTaken(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		outs  []string
		width latentWidth
	}{
		{[]string{"both"}, halves}, {[]string{"mu", "log_sigma"}, logSigma}, {[]string{"m", "fc_logvar"}, logVar}, {[]string{"mu", "sigma"}, plainSigma},
	} {
		v, err := loadCustom(customPair(t, dir, 3, 3, c.outs...))
		if err != nil {
			t.Fatalf("%v: %v", c.outs, err)
		}
		if l, w, h := v.size(); v.spread != c.width || l != 3 || w != 16 || h != 16 {
			t.Errorf("%v: got width %d, %d latents, %d x %d", c.outs, v.spread, l, w, h)
		}
		want := []string{"dec.first", "dec.last", "dec.norm.bias", "dec.norm.weight", "enc.conv"}
		for _, out := range c.outs {
			want = append(want, "enc.head"+out, "enc.bias"+out)
		}
		slices.Sort(want)
		got := trained(v)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%v: trains %q, want %q", c.outs, got, want)
		}
		// The gradients of the loss, against differences in float64.
		o := vaeObjective{Batch: 2, Samples: 3, SigmaD: 0.3}
		g, err := lossGraph(v, v.weights, o)
		if err != nil {
			t.Fatalf("%v: %v", c.outs, err)
		}
		step, err := diff.Train(g, diff.TrainOptions{Loss: "loss", Params: trained(v), GradientsOnly: true, Exact: true})
		if err != nil {
			t.Fatalf("%v: %v", c.outs, err)
		}
		ev, err := eval.New(step)
		if err != nil {
			t.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(2, 9))
		feed := map[string]*eval.Array{}
		for _, in := range step.Inputs {
			shape, _ := extents(in.Shape)
			x := onnx.FloatTensor(nil, shape...)
			x.Floats = make([]float32, x.Size())
			for i := range x.Floats {
				x.Floats[i] = float32(rng.Float64())
			}
			if w := v.weights[in.Name]; w != nil {
				x = w
			}
			if c.width == plainSigma && in.Name == "enc.biassigma" {
				x = onnx.FloatTensor([]float32{2, 2, 2}, 3) // keeps σ positive
			}
			if feed[in.Name], err = eval.ArrayOf(x); err != nil {
				t.Fatal(err)
			}
		}
		run := func() map[string]*eval.Array {
			out, err := ev.Run(feed)
			if err != nil {
				t.Fatal(err)
			}
			return out
		}
		grads := run()
		for _, name := range want {
			a := feed[name]
			for _, i := range []int{0, len(a.F) / 2} {
				const h = 1e-5
				at := a.F[i]
				a.F[i] = at + h
				up := run()["loss"].F[0]
				a.F[i] = at - h
				down := run()["loss"].F[0]
				a.F[i] = at
				check.Close(t, name, grads["grad_"+name].F[i], (up-down)/(2*h), 1e-5, 1e-3)
			}
		}
	}
}

// The inference form of tables D1 and D2 has the same loss whether it is built or read from the files of a bundle.
func TestABundleIsACustomArchitecture(t *testing.T) {
	termtest.NeedRuntime(t)
	dir := t.TempDir()
	file := filepath.Join("testdata", "vae_trained.pt")
	testkit.MustRun(t, "export-vae", file, "-o", dir, "--quiet")
	v, err := loadCustom(filepath.Join(dir, "encoder.onnx"), filepath.Join(dir, "decoder.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := LoadExport(file, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	const batch = 3
	built, err := newVAEChecker(s.net, s.Tensors, batch, 0.1, ort.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer built.close()
	tr, err := newVAETrainer(v, v.weights, vaeObjective{Batch: batch, Samples: 1, SigmaD: 0.1}, torchAdam, ort.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.close()
	rng := rand.New(rand.NewPCG(3, 3))
	for i := range built.x {
		built.x[i] = rng.Float32()
	}
	for i := range built.eps {
		built.eps[i] = float32(rng.NormFloat64())
	}
	if err := built.run.Run(); err != nil {
		t.Fatal(err)
	}
	rec, kl := 0.0, 0.0
	for i := range batch {
		rec += float64(built.rec[i]) / batch
		kl += float64(built.kl[i]) / batch
	}
	got, err := tr.step(built.x, built.eps, 1, 1e-3)
	if err != nil {
		t.Fatal(err)
	}
	check.Close(t, "reconstruction", got.Reconstruction, rec, 1e-4, 0)
	check.Close(t, "KL", got.KL, kl, 1e-4, 0)
}

func TestCustomTrainingGoesOnAndBecomesABundle(t *testing.T) {
	termtest.NeedRuntime(t)
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	encoder, decoder := customPair(t, dir, 3, 3, "mu", "log_sigma")
	testkit.MustRun(t, "dataset", "synth", "-o", file("data.fits"), "--count", "40", "--size", "16", "--seed", "2")
	flags := []string{"train-vae", file("data.fits"), "--encoder", encoder, "--decoder", decoder, "--batch", "8", "--samples", "1", "--rate", "1e-2", "--epochs", "6",
		"--hold", "0.1", "--rotate", "--sigma", "0.1", "--threads", "1", "--quiet"}
	testkit.MustRun(t, append(flags, "-o", file("whole"))...)

	// Stopped after 11 steps and begun again.
	o := TrainOptions{}
	r, err := readTrainRecord(filepath.Join(file("whole"), rundir.FileTrainBest))
	if err != nil {
		t.Fatal(err)
	}
	o = r.Options
	o.Output, o.SaveEvery, o.SheetEvery = file("parts"), 0, 100
	ctx, cancel := context.WithCancel(context.Background())
	o.afterStep = func(tr *vaeTrainer) {
		if tr.steps == 11 {
			cancel()
		}
	}
	if err := Train(ctx, o, io.Discard, term.NewProgress(io.Discard, true)); term.ExitCode(err) != term.ExitInterrupted {
		t.Fatalf("got %v, want an interruption", err)
	}
	testkit.MustRun(t, append(flags, "-o", file("parts"))...)
	sameRuns(t, 1, file("whole"), file("parts"))

	first, last := r.Epochs[0], r.Epochs[r.Best-1]
	if r.Best < 2 || !(last.ValidationRec < first.ValidationRec) {
		t.Errorf("epoch %d is the best, its validation term %g, %g in the first: nothing was learnt", r.Best, last.ValidationRec, first.ValidationRec)
	}
	testkit.MustRun(t, "export-vae", file("whole"), "-o", file("bundle"), "--quiet")
	b, err := config.LoadBundle(file("bundle"))
	if err != nil {
		t.Fatal(err)
	}
	ws, err := tensors.Read(filepath.Join(file("whole"), rundir.FileTrainBest))
	if err != nil {
		t.Fatal(err)
	}
	before, err := onnx.Load(decoder)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range ws {
		g := b.Decoder
		if !strings.HasPrefix(w.Name, "dec.") {
			if g, err = b.Encoder(); err != nil {
				t.Fatal(err)
			}
		}
		if got := g.Init[w.Name]; got == nil || !slices.Equal(got.Floats, w.Tensor.Floats) {
			t.Errorf("%s in the bundle is not the trained one", w.Name)
		}
		if old := before.Init[strings.TrimPrefix(w.Name, "dec.")]; old != nil && slices.Equal(old.Floats, w.Tensor.Floats) {
			t.Errorf("%s was not trained", w.Name)
		}
	}
	if old, now := before.Init["norm.running_var"], b.Decoder.Init["dec.norm.running_var"]; now == nil || !slices.Equal(old.Floats, now.Floats) {
		t.Error("the statistics of BatchNorm changed")
	}
	// The bundle does what the run's own check of it said, and is itself an architecture to go on from.
	testkit.MustRun(t, "plot", file("bundle"), "--data", file("data.fits"), "-o", file("figures"), "--quiet")
	v, err := loadCustom(filepath.Join(file("bundle"), "encoder.onnx"), filepath.Join(file("bundle"), "decoder.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	k, err := newVAEChecker(v, v.weights, 8, 0.1, ort.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer k.close()
	set, err := trainingCube(file("data.fits"), 16, 16)
	if err != nil {
		t.Fatal(err)
	}
	_, held, err := split(set, 0.1)
	if err != nil {
		t.Fatal(err)
	}
	rec, kl, err := k.elbo(held)
	if err != nil {
		t.Fatal(err)
	}
	if math.Abs(rec-last.ValidationRec) > 1e-3*last.ValidationRec || math.Abs(kl-last.ValidationKL) > 1e-3*(1+last.ValidationKL) {
		t.Errorf("got terms %g and %g, the run's best epoch had %g and %g", rec, kl, last.ValidationRec, last.ValidationKL)
	}
	// A run with other files in the same folder is refused, and leaves the folder alone.
	kept, err := os.ReadFile(filepath.Join(file("whole"), fileCustomDecoder))
	if err != nil {
		t.Fatal(err)
	}
	flags[5] = filepath.Join(file("bundle"), "decoder.onnx")
	code, _, stderr := testkit.RunCommand(t, append(flags, "-o", file("whole"))...)
	if now, err := os.ReadFile(filepath.Join(file("whole"), fileCustomDecoder)); code != term.ExitBadInput || err != nil || !bytes.Equal(kept, now) {
		t.Errorf("another architecture: exit %d: %s; the kept one is the same: %v (%v)", code, stderr, bytes.Equal(kept, now), err)
	}
	code, _, stderr = testkit.RunCommand(t, "export-vae", file("whole"), "--to-torch", file("x.safetensors"))
	if code != term.ExitBadInput || !strings.Contains(stderr, "custom architecture") {
		t.Errorf("exit %d: %s", code, stderr)
	}
}

func TestCustomArchitecturesThatDoNotFitAreRefused(t *testing.T) {
	dir := t.TempDir()
	other := filepath.Join(dir, "other")
	if err := os.Mkdir(other, 0o755); err != nil {
		t.Fatal(err)
	}
	encoder, decoder := customPair(t, dir, 3, 3, "mu", "log_sigma")
	four, _ := customPair(t, other, 4, 4, "mu", "log_sigma")
	shipped, err := config.LoadBundle("")
	if err != nil {
		t.Fatal(err)
	}
	large := filepath.Join(dir, "large.onnx")
	if err := shipped.Decoder.Save(large); err != nil {
		t.Fatal(err)
	}
	one, err := onnx.Load(decoder)
	if err != nil {
		t.Fatal(err)
	}
	if one, err = diff.BindInput(one, "latents", []int64{1, 3, 1, 1}); err != nil {
		t.Fatal(err)
	}
	single := filepath.Join(dir, "single.onnx")
	if err := one.Save(single); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		flags string
		words []string
	}{
		{"--encoder " + encoder, []string{"--decoder"}},
		{"--encoder " + encoder + " --decoder " + decoder + " --latents 3", []string{"--latents"}},
		{"--encoder " + four + " --decoder " + decoder, []string{four, "[7 4]", "[7 3]", "[7 6]"}},
		{"--encoder " + decoder + " --decoder " + decoder, []string{decoder, "[N 1 16 16]"}},
		{"--encoder " + encoder + " --decoder " + encoder, []string{encoder, "2 outputs"}},
		{"--encoder " + encoder + " --decoder " + large, []string{encoder, "64 64"}},
		{"--encoder " + encoder + " --decoder " + single, []string{single, "dynamic batch"}},
		{"--encoder " + filepath.Join(dir, "none.onnx") + " --decoder " + decoder, []string{"none.onnx"}},
	} {
		code, _, stderr := testkit.RunCommand(t, append([]string{"train-vae", "none.fits", "-o", filepath.Join(dir, "run")}, strings.Fields(c.flags)...)...)
		if code != term.ExitBadInput {
			t.Errorf("%s: exit %d: %s", c.flags, code, stderr)
		}
		for _, w := range c.words {
			if !strings.Contains(stderr, w) {
				t.Errorf("%s: the message lacks %q: %s", c.flags, w, stderr)
			}
		}
	}
}
