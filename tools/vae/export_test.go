package vae

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lenskit/internal/check"
	"lenskit/onnx"
	"lenskit/tools/config"
	"lenskit/tools/internal/fits"
	"lenskit/tools/internal/tensors"
	"lenskit/tools/internal/term"
	"lenskit/tools/internal/termtest"
	"lenskit/tools/internal/testkit"
	"lenskit/tools/run"
)

func TestPyTorchWeightsGoToABundleAndBack(t *testing.T) {
	want := testkit.ReadNPZ(t, filepath.Join("testdata", "vae_small.npz"))
	dir := t.TempDir()
	first := filepath.Join(dir, "first")
	testkit.MustRun(t, "export-vae", filepath.Join("testdata", "vae_small.pt"), "-o", first)
	compare := func(bundle string) {
		t.Helper()
		z, x := want["z"], want["x"]
		testkit.Near(t, bundle+": image", testkit.RunGraph(t, filepath.Join(bundle, "decoder.onnx"), z.Floats, z.Shape...)["image"], want["image"], 1e-5)
		out := testkit.RunGraph(t, filepath.Join(bundle, "encoder.onnx"), x.Floats, x.Shape...)
		testkit.Near(t, bundle+": mu", out["mu"], want["mu"], 1e-5)
		testkit.Near(t, bundle+": sigma", out["sigma"], want["sigma"], 1e-5)
	}
	compare(first)
	back, second := filepath.Join(dir, "back.safetensors"), filepath.Join(dir, "second")
	testkit.MustRun(t, "export-vae", first, "--to-torch", back)
	testkit.MustRun(t, "export-vae", back, "-o", second)
	compare(second)
	// The names of tables D1 and D2 in Sequential containers, each with its shape.
	ws, err := tensors.Read(back)
	if err != nil {
		t.Fatal(err)
	}
	shape := Shape{Latents: 3, Channels: []int{2, 3, 4, 5}, Hidden: 7}
	found := map[string][]int64{}
	for _, w := range ws {
		found[w.Name] = w.Tensor.Shape
	}
	for _, p := range shape.params() {
		if !slices.Equal(found[p.Name], p.Shape) {
			t.Errorf("%s: found shape %v, want %v", p.Name, found[p.Name], p.Shape)
		}
		delete(found, p.Name)
	}
	if len(found) > 0 {
		t.Errorf("more tensors than the network has: %v", found)
	}
}

func TestSharedDecodersGiveTheirImages(t *testing.T) {
	want := testkit.ReadNPZ(t, check.Shared(t, "decoders/dcgan.npz"))
	z := narrowed(want["z"])
	for _, file := range []string{"dcgan.pt", "dcgan.legacy.pt", "dcgan.safetensors"} {
		dir := filepath.Join(t.TempDir(), "bundle")
		torch := filepath.Join(t.TempDir(), "back.safetensors")
		path := check.Shared(t, "decoders/"+file)
		testkit.MustRun(t, "export-vae", path, "-o", dir, "--to-torch", torch, "--quiet")
		testkit.Near(t, file, testkit.RunGraph(t, filepath.Join(dir, "decoder.onnx"), z.Floats, z.Shape[0], z.Shape[1])["image"], want["x64"], 1e-5)
		if _, err := os.Stat(filepath.Join(dir, "encoder.onnx")); err == nil {
			t.Errorf("%s: an encoder came out of a decoder", file)
		}
		testkit.SameTensors(t, path, torch)
	}
}

func TestOtherNetworksAreRefusedWithATable(t *testing.T) {
	for _, file := range []string{"decoders/res_att.pt", "decoders/res_att.safetensors", "data/torch_files/burn/layer_norm__layer_norm.pt", "data/torch_files/burn/reader_broken.pt"} {
		code, _, stderr := testkit.RunCommand(t, "export-vae", check.Shared(t, file), "-o", t.TempDir())
		if code != term.ExitBadInput || !strings.Contains(stderr, file[strings.LastIndexByte(file, '/')+1:]) {
			t.Errorf("%s: exit %d: %s", file, code, stderr)
		}
	}
	_, table, _ := testkit.RunCommand(t, "export-vae", check.Shared(t, "decoders/res_att.pt"), "-o", t.TempDir())
	for _, word := range []string{"expected", "dec.0.weight", "r1.a.weight", "[16 16 3 3]"} {
		if !strings.Contains(table, word) {
			t.Errorf("the table lacks %q:\n%s", word, table)
		}
	}
}

func TestLayersAreFoundByShapeWhereTheOrderSaysNothing(t *testing.T) {
	shape := Shape{Latents: 4, Channels: []int{2, 3, 5, 6}, Hidden: 9}
	rng := rand.New(rand.NewPCG(8, 8))
	w := shape.initial(rng)
	for _, x := range w {
		for i := range x.Floats {
			x.Floats[i] = float32(1 + 0.1*rng.NormFloat64())
		}
	}
	var ws []tensors.Named
	for _, p := range shape.params() {
		name := strings.NewReplacer("enc.", "encoder.net.", "dec.", "module.decoder.net.", "mu.", "encoder.mean.", "log_sigma.", "encoder.logstd.").Replace(p.Name)
		ws = append(ws, tensors.Named{Name: name, DType: "float32", Tensor: w[p.Name]})
	}
	rng.Shuffle(len(ws), func(i, j int) { ws[i], ws[j] = ws[j], ws[i] })
	for _, sorted := range []bool{true, false} {
		v, err := matchVAE(ws, sorted)
		if err != nil {
			t.Fatalf("sorted %v: %v", sorted, err)
		}
		if !slices.Equal(v.Shape.Channels, shape.Channels) || v.Shape.Latents != 4 || v.Shape.Hidden != 9 || !v.HasEncoder {
			t.Errorf("got %+v", v.Shape)
		}
		for name, x := range w {
			if !slices.Equal(v.Tensors[name].Floats, x.Floats) {
				t.Errorf("sorted %v: %s is another tensor", sorted, name)
			}
		}
	}
	if _, err := matchVAE(ws[1:], true); err == nil {
		t.Error("a network without one of its tensors matched")
	}
}

func TestTrainedNetworkBecomesABundle(t *testing.T) {
	o := smallTraining(t, "")
	run, dir := filepath.Join(t.TempDir(), "run"), filepath.Join(t.TempDir(), "bundle")
	testkit.MustRun(t, "train-vae", o.Data, "-o", run, "--latents", "6", "--channels", "3,4,5,6", "--hidden", "16", "--samples", "1", "--batch", "8",
		"--rate", "1e-3", "--epochs", "2", "--rotate", "--quiet")
	testkit.MustRun(t, "export-vae", run, "-o", dir, "--licence", "Apache-2.0")
	b, err := config.LoadBundle(dir)
	if err != nil {
		t.Fatal(err)
	}
	if b.Latents != 6 || b.Encoder == nil || b.Cov.At(0, 0) == 1 {
		t.Errorf("got %d latents, variance %g", b.Latents, b.Cov.At(0, 0))
	}
	card, err := os.ReadFile(filepath.Join(dir, "card.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"lenskit train-vae data.fits -o run --latents 6", "ELBO", "dataset synth --count 48", "Apache-2.0", "sha256"} {
		if !strings.Contains(string(card), word) {
			t.Errorf("card.md lacks %q:\n%s", word, card)
		}
	}
	// The prior is that of the encoded means of the data it is asked to take.
	testkit.MustRun(t, "export-vae", run, "-o", dir, "--data", o.Data)
	set, err := trainingCube(o.Data, vaeSide, vaeSide)
	if err != nil {
		t.Fatal(err)
	}
	mu := testkit.RunGraph(t, filepath.Join(dir, "encoder.onnx"), set.Pix, int64(set.N), 1, 64, 64)["mu"]
	var prior struct {
		Mean       []float64
		Covariance [][]float64
	}
	text, err := os.ReadFile(filepath.Join(dir, "prior.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &prior); err != nil {
		t.Fatal(err)
	}
	for k := range 6 {
		mean, square := 0.0, 0.0
		for i := range set.N {
			mean += float64(mu[6*i+k]) / float64(set.N)
		}
		for i := range set.N {
			square += math.Pow(float64(mu[6*i+k])-mean, 2) / float64(set.N-1)
		}
		check.Close(t, "mean", prior.Mean[k], mean, 1e-4, 1e-5)
		check.Close(t, "variance", prior.Covariance[k][k], square, 1e-4, 1e-5)
	}
}

// A network trained in PyTorch goes .pt -> bundle -> mock -> fit, and back to PyTorch.
func TestPyTorchDecoderIsFittedAndGoesBack(t *testing.T) {
	termtest.NeedRuntime(t)
	want := testkit.ReadNPZ(t, filepath.Join("testdata", "vae_trained.npz"))
	z, images := want["z"], want["image"]
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	testkit.MustRun(t, "export-vae", filepath.Join("testdata", "vae_trained.pt"), "-o", file("bundle"), "--to-torch", file("back.safetensors"), "--quiet")
	testkit.Near(t, "bundle", testkit.RunGraph(t, filepath.Join(file("bundle"), "decoder.onnx"), z.Floats, z.Shape...)["image"], images, 1e-5)

	model := fmt.Sprintf(`
data: {size: 48, pixel_scale: 0.1, noise: 0.02, psf: {gaussian: 0.1}}
lens:
  - {type: sie, priors: {theta_E: {truth: 1.2}, e1: {truth: 0.1}, e2: {truth: -0.05}, center_x: {fixed: 0}, center_y: {fixed: 0}}}
source:
  - type: decoder
    model: bundle
    priors: {z: {truth: [%g, %g, %g, %g]}, s: {truth: 2.5}, iota: {truth: 1}, x: {truth: 0.05}, y: {truth: -0.03}}
`, z.Floats[0], z.Floats[1], z.Floats[2], z.Floats[3])
	if err := os.WriteFile(file("model.yaml"), []byte(model), 0o644); err != nil {
		t.Fatal(err)
	}
	testkit.MustRun(t, "mock", file("model.yaml"), "-o", file("mock.fits"), "--seed", "1", "--quiet")
	source, err := fits.Read(file("mock.fits") + "[SOURCE]")
	if err != nil {
		t.Fatal(err)
	}
	first := onnx.FloatTensor(images.Floats[:64*64], 64, 64)
	if e := termtest.Relative(func(i int) float64 { return source.Pix[i] }, first); !(e <= 1e-5) {
		t.Errorf("the mock's source is off by %.2g of PyTorch's peak, want at most 1e-5", e)
	}
	testkit.MustRun(t, "fit", file("mock.yaml"), "-o", file("fit"), "--seed", "1", "--quiet")
	r, err := run.ReadRecord(file("fit"))
	if err != nil {
		t.Fatal(err)
	}
	truth := map[string]float64{"lens.sie.theta_E": 1.2, "lens.sie.e1": 0.1, "lens.sie.e2": -0.05, "source.decoder.x": 0.05, "source.decoder.y": -0.03}
	for k := range 4 {
		truth[fmt.Sprintf("source.decoder.z.%d", k+1)] = float64(z.Floats[k])
	}
	for i, name := range r.Parameters.Names {
		if v, ok := truth[name]; ok {
			check.Close(t, name+", in σ from the truth", (r.Parameters.Values[i]-v)/r.Uncertainties.Values[i], 0, 5, 1)
			delete(truth, name)
		}
	}
	if r.Status != run.Converged || len(truth) > 0 {
		t.Errorf("got %s (%s) without %v", r.Status, r.Reason, truth)
	}

	// Back under PyTorch's own names, to the bit; and from the bundle, under those of the tables.
	testkit.SameTensors(t, filepath.Join("testdata", "vae_trained.pt"), file("back.safetensors"))
	testkit.MustRun(t, "export-vae", file("bundle"), "--to-torch", file("bundle.safetensors"), "--quiet")
	testkit.MustRun(t, "export-vae", file("bundle.safetensors"), "-o", file("again"), "--quiet")
	testkit.Near(t, "bundle and back", testkit.RunGraph(t, filepath.Join(file("again"), "decoder.onnx"), z.Floats, z.Shape...)["image"], images, 1e-5)
}

// vaeReference is the small VAE whose training step PyTorch computed in float64.
type vaeReference struct {
	Shape
	arrays  map[string]*onnx.Tensor
	weights map[string]*onnx.Tensor
	batch   int
	samples int
}

// narrowed is a tensor in float32.
func narrowed(x *onnx.Tensor) *onnx.Tensor {
	f := &onnx.Tensor{Type: onnx.Float32, Shape: x.Shape, Floats: make([]float32, x.Size())}
	for i := range f.Floats {
		f.Floats[i] = float32(x.Float(i))
	}
	return f
}

func (r *vaeReference) eps(step int) *onnx.Tensor {
	e := r.arrays["eps"]
	n := int(e.Shape[1] * e.Shape[2] * e.Shape[3])
	return &onnx.Tensor{Type: onnx.Float32, Shape: []int64{e.Shape[1] * e.Shape[2], e.Shape[3]}, Floats: narrowed(e).Floats[step*n : (step+1)*n]}
}
