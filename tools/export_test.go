package tools

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
)

// runGraph runs the graph in the file on one input of the given shape.
func runGraph(t *testing.T, path string, in []float32, shape ...int64) map[string][]float32 {
	t.Helper()
	needRuntime(t)
	g, err := onnx.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if g, err = g.BindInput(g.Inputs[0].Name, shape); err != nil {
		t.Fatal(err)
	}
	s, err := onnx.Open(g, onnx.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	copy(s.Input(g.Inputs[0].Name), in)
	if err := s.Run(); err != nil {
		t.Fatal(err)
	}
	out := map[string][]float32{}
	for _, v := range g.Outputs {
		out[v.Name] = slices.Clone(s.Output(v.Name))
	}
	return out
}

func near(t *testing.T, what string, got []float32, want *onnx.Tensor, tol float64) {
	t.Helper()
	if len(got) != want.Size() {
		t.Fatalf("%s: got %d numbers, want %d", what, len(got), want.Size())
	}
	if e := relative(func(i int) float64 { return float64(got[i]) }, want); !(e <= tol) {
		t.Errorf("%s: off by %.2g of the largest element, want at most %g", what, e, tol)
	}
}

func TestPyTorchWeightsGoToABundleAndBack(t *testing.T) {
	want := readNPZ(t, filepath.Join("testdata", "vae_small.npz"))
	dir := t.TempDir()
	first := filepath.Join(dir, "first")
	mustRun(t, "export-vae", filepath.Join("testdata", "vae_small.pt"), "-o", first)
	compare := func(bundle string) {
		t.Helper()
		z, x := want["z"], want["x"]
		near(t, bundle+": image", runGraph(t, filepath.Join(bundle, "decoder.onnx"), z.Floats, z.Shape...)["image"], want["image"], 1e-5)
		out := runGraph(t, filepath.Join(bundle, "encoder.onnx"), x.Floats, x.Shape...)
		near(t, bundle+": mu", out["mu"], want["mu"], 1e-5)
		near(t, bundle+": sigma", out["sigma"], want["sigma"], 1e-5)
	}
	compare(first)
	back, second := filepath.Join(dir, "back.safetensors"), filepath.Join(dir, "second")
	mustRun(t, "export-vae", first, "--to-torch", back)
	mustRun(t, "export-vae", back, "-o", second)
	compare(second)
	// The names of tables D1 and D2 in Sequential containers, each with its shape.
	ws, err := readWeights(back)
	if err != nil {
		t.Fatal(err)
	}
	shape := vaeShape{Latents: 3, Channels: []int{2, 3, 4, 5}, Hidden: 7}
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
	want := readNPZ(t, check.Shared(t, "decoders/dcgan.npz"))
	z := narrowed(want["z"])
	for _, file := range []string{"dcgan.pt", "dcgan.legacy.pt", "dcgan.safetensors"} {
		dir := filepath.Join(t.TempDir(), "bundle")
		torch := filepath.Join(t.TempDir(), "back.safetensors")
		path := check.Shared(t, "decoders/"+file)
		mustRun(t, "export-vae", path, "-o", dir, "--to-torch", torch, "--quiet")
		near(t, file, runGraph(t, filepath.Join(dir, "decoder.onnx"), z.Floats, z.Shape[0], z.Shape[1])["image"], want["x64"], 1e-5)
		if _, err := os.Stat(filepath.Join(dir, "encoder.onnx")); err == nil {
			t.Errorf("%s: an encoder came out of a decoder", file)
		}
		sameTensors(t, path, torch)
	}
}

// sameTensors fails unless each tensor of PyTorch's file came back under its own name, to the bit.
func sameTensors(t *testing.T, torch, back string) {
	t.Helper()
	before, err := readWeights(torch)
	if err != nil {
		t.Fatal(err)
	}
	after, err := readWeights(back)
	if err != nil {
		t.Fatal(err)
	}
	at := map[string]*onnx.Tensor{}
	for _, w := range after {
		at[w.Name] = w.Tensor
	}
	for _, w := range before {
		if strings.HasSuffix(w.Name, "num_batches_tracked") {
			continue
		}
		if got := at[w.Name]; got == nil || !slices.Equal(got.Floats, w.Tensor.Floats) || !slices.Equal(got.Shape, w.Tensor.Shape) {
			t.Errorf("%s: %s did not come back", torch, w.Name)
		}
	}
}

func TestOtherNetworksAreRefusedWithATable(t *testing.T) {
	for _, file := range []string{"decoders/res_att.pt", "decoders/res_att.safetensors", "data/torch_files/burn/layer_norm__layer_norm.pt", "data/torch_files/burn/reader_broken.pt"} {
		code, _, stderr := runCommand(t, "export-vae", check.Shared(t, file), "-o", t.TempDir())
		if code != exitBadInput || !strings.Contains(stderr, file[strings.LastIndexByte(file, '/')+1:]) {
			t.Errorf("%s: exit %d: %s", file, code, stderr)
		}
	}
	_, table, _ := runCommand(t, "export-vae", check.Shared(t, "decoders/res_att.pt"), "-o", t.TempDir())
	for _, word := range []string{"expected", "dec.0.weight", "r1.a.weight", "[16 16 3 3]"} {
		if !strings.Contains(table, word) {
			t.Errorf("the table lacks %q:\n%s", word, table)
		}
	}
}

func TestLayersAreFoundByShapeWhereTheOrderSaysNothing(t *testing.T) {
	shape := vaeShape{Latents: 4, Channels: []int{2, 3, 5, 6}, Hidden: 9}
	rng := rand.New(rand.NewPCG(8, 8))
	w := shape.initial(rng)
	for _, x := range w {
		for i := range x.Floats {
			x.Floats[i] = float32(1 + 0.1*rng.NormFloat64())
		}
	}
	var ws []weight
	for _, p := range shape.params() {
		name := strings.NewReplacer("enc.", "encoder.net.", "dec.", "module.decoder.net.", "mu.", "encoder.mean.", "log_sigma.", "encoder.logstd.").Replace(p.Name)
		ws = append(ws, weight{Name: name, DType: "float32", Tensor: w[p.Name]})
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
	mustRun(t, "train-vae", o.Data, "-o", run, "--latents", "6", "--channels", "3,4,5,6", "--hidden", "16", "--samples", "1", "--batch", "8",
		"--rate", "1e-3", "--epochs", "2", "--rotate", "--quiet")
	mustRun(t, "export-vae", run, "-o", dir, "--licence", "Apache-2.0")
	b, err := loadBundle(dir)
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
	mustRun(t, "export-vae", run, "-o", dir, "--data", o.Data)
	set, err := trainingCube(o.Data, vaeSide, vaeSide)
	if err != nil {
		t.Fatal(err)
	}
	mu := runGraph(t, filepath.Join(dir, "encoder.onnx"), set.Pix, int64(set.N), 1, 64, 64)["mu"]
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
	needRuntime(t)
	want := readNPZ(t, filepath.Join("testdata", "vae_trained.npz"))
	z, images := want["z"], want["image"]
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	mustRun(t, "export-vae", filepath.Join("testdata", "vae_trained.pt"), "-o", file("bundle"), "--to-torch", file("back.safetensors"), "--quiet")
	near(t, "bundle", runGraph(t, filepath.Join(file("bundle"), "decoder.onnx"), z.Floats, z.Shape...)["image"], images, 1e-5)

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
	mustRun(t, "mock", file("model.yaml"), "-o", file("mock.fits"), "--seed", "1", "--quiet")
	source, err := readFITS(file("mock.fits") + "[SOURCE]")
	if err != nil {
		t.Fatal(err)
	}
	first := onnx.FloatTensor(images.Floats[:64*64], 64, 64)
	if e := relative(func(i int) float64 { return source.Pix[i] }, first); !(e <= 1e-5) {
		t.Errorf("the mock's source is off by %.2g of PyTorch's peak, want at most 1e-5", e)
	}
	mustRun(t, "fit", file("mock.yaml"), "-o", file("fit"), "--seed", "1", "--quiet")
	r, err := readFitRecord(file("fit"))
	if err != nil {
		t.Fatal(err)
	}
	truth := map[string]float64{"lens.sie.theta_E": 1.2, "lens.sie.e1": 0.1, "lens.sie.e2": -0.05, "source.decoder.x": 0.05, "source.decoder.y": -0.03}
	for k := range 4 {
		truth[fmt.Sprintf("source.decoder.z.%d", k+1)] = float64(z.Floats[k])
	}
	for i, name := range r.Parameters.names {
		if v, ok := truth[name]; ok {
			check.Close(t, name+", in σ from the truth", (r.Parameters.values[i]-v)/r.Uncertainties.values[i], 0, 5, 1)
			delete(truth, name)
		}
	}
	if r.Status != statusConverged || len(truth) > 0 {
		t.Errorf("got %s (%s) without %v", r.Status, r.Reason, truth)
	}

	// Back under PyTorch's own names, to the bit; and from the bundle, under those of the tables.
	sameTensors(t, filepath.Join("testdata", "vae_trained.pt"), file("back.safetensors"))
	mustRun(t, "export-vae", file("bundle"), "--to-torch", file("bundle.safetensors"), "--quiet")
	mustRun(t, "export-vae", file("bundle.safetensors"), "-o", file("again"), "--quiet")
	near(t, "bundle and back", runGraph(t, filepath.Join(file("again"), "decoder.onnx"), z.Floats, z.Shape...)["image"], images, 1e-5)
}
