package vae

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"

	"lenskit/internal/disk"
	"lenskit/onnx"
	"lenskit/onnx/diff"
	"lenskit/onnx/footprint"
	"lenskit/onnx/ort"
	"lenskit/tools/config"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/tensors"
	"lenskit/tools/internal/term"

	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/stat"
)

// ExportOptions say what Export reads and writes.
type ExportOptions struct {
	Input   string // a training run or its file, PyTorch or safetensors weights, or a bundle
	Bundle  string // folder to write, or ""
	Torch   string // safetensors file to write, or ""
	Data    string // cube whose encoded means give the prior; "": the training data, where the input tells them
	Licence string // of the weights, for the card
	JSON    bool
}

// ExportSource is a network with what is known of it.
type ExportSource struct {
	*vaeWeights
	net    architecture
	file   string
	sha256 string
	record *trainRecord // nil where it was not trained here
}

// priorImages is how many augmented training images give the prior.
const priorImages = 8192

// LoadExport reads a network from the input. The table of what matched goes to table when it does not.
func LoadExport(path string, table io.Writer) (*ExportSource, error) {
	s := &ExportSource{file: path}
	var ws []tensors.Named
	info, err := os.Stat(path)
	if err != nil {
		return nil, term.BadInput("%s: %s", path, term.Reason(err))
	}
	if info.IsDir() {
		if _, err := os.Stat(filepath.Join(path, rundir.FileTrainBest)); err == nil {
			s.file = filepath.Join(path, rundir.FileTrainBest)
		} else if _, err := os.Stat(filepath.Join(path, rundir.FileDecoder)); err == nil {
			b, err := config.LoadBundle(path)
			if err != nil {
				return nil, err
			}
			ws = initialisers(b.Decoder)
			if b.Encoder != nil {
				e, err := b.Encoder()
				if err != nil {
					return nil, err
				}
				ws = append(ws, initialisers(e)...)
			}
			s.file = filepath.Join(path, rundir.FileDecoder)
		} else {
			return nil, term.BadInput("%s: holds neither %s nor decoder.onnx, expected a training run or a bundle", path, rundir.FileTrainBest)
		}
	}
	sorted := ws != nil
	if !sorted {
		f, _, err := disk.Open(s.file)
		if err != nil {
			return nil, term.BadInput("%w, expected weights, a training run or a bundle", err)
		}
		f.Close()
	}
	if strings.EqualFold(filepath.Ext(s.file), ".safetensors") {
		// Writers of this format sort by name or size.
		sorted = true
		if s.record, err = readTrainRecord(s.file); err != nil {
			return nil, err
		}
	}
	if ws == nil {
		if ws, err = tensors.Read(s.file); err != nil {
			return nil, err
		}
	}
	if strings.EqualFold(filepath.Ext(s.file), ".safetensors") {
		if _, err := checkTrained(s.file, ws); err != nil {
			return nil, err
		}
	}
	if s.record != nil && len(s.record.Models) > 0 {
		return s, s.customised(ws)
	}
	if s.vaeWeights, err = matchVAE(ws, sorted); err != nil {
		var m *matchError
		if errors.As(err, &m) {
			m.table(table)
		}
		return nil, term.WithHint(term.BadInput("%s: %w", s.file, err), "tables D1 and D2 are what export-vae knows; export other networks with torch.onnx and name the .onnx file as the model")
	}
	s.net = s.Shape
	s.sha256, err = disk.Sum(s.file)
	return s, err
}

// customised takes over the weights of a custom architecture.
func (s *ExportSource) customised(ws []tensors.Named) error {
	custom, err := keptCustom(s.file)
	if err != nil {
		return err
	}
	s.net, s.vaeWeights = custom, &vaeWeights{HasEncoder: true}
	if s.Tensors, err = custom.tensorsOf(ws); err != nil {
		return term.BadInput("%s: %w", s.file, err)
	}
	s.sha256, err = disk.Sum(s.file)
	return err
}

// initialisers are the floating-point initialisers of a graph.
func initialisers(g *onnx.Graph) []tensors.Named {
	if g == nil {
		return nil
	}
	var ws []tensors.Named
	for name, t := range g.Init {
		if t.Type == onnx.Float32 && len(t.Shape) > 0 {
			ws = append(ws, tensors.Named{Name: name, DType: "float32", Tensor: t})
		}
	}
	return ws
}

// Export writes a network as a bundle, as weights for PyTorch, or both.
func Export(o ExportOptions, out io.Writer, report *term.Progress) error {
	report = report.OrSilent()
	if o.Bundle == "" && o.Torch == "" {
		return term.BadInput("export-vae: nothing to write, expected -o FOLDER or --to-torch FILE.safetensors")
	}
	if o.Torch != "" && !strings.EqualFold(filepath.Ext(o.Torch), ".safetensors") {
		return term.BadInput("export-vae: --to-torch: found %s, expected a name that ends in .safetensors", o.Torch)
	}
	table := out // what was looked for and what is there is a result, the error a line
	if o.JSON || report.Quiet {
		table = io.Discard
	}
	s, err := LoadExport(o.Input, table)
	if err != nil {
		return err
	}
	latents, width, height := s.net.size()
	if o.Torch != "" {
		if _, ok := s.net.(*customVAE); ok {
			return term.WithHint(term.BadInput("export-vae: --to-torch: found the custom architecture of %s, expected tables D1 and D2", s.file),
				"%s itself is a safetensors file: its tensors are named as in the ONNX files, behind enc. and dec.", s.file)
		}
		if err := rundir.Prepare(filepath.Dir(o.Torch)); err != nil {
			return err
		}
		if err := tensors.WriteSafetensors(o.Torch, s.list()); err != nil {
			return err
		}
		if !o.JSON {
			fmt.Fprintf(out, "%s: %d tensors\n", o.Torch, len(s.Tensors))
		}
	}
	told := map[string]any{"weights": s.file, "sha256": s.sha256, "latents": latents, "size": width, "encoder": s.HasEncoder, "torch": o.Torch, "bundle": o.Bundle}
	if o.Bundle == "" {
		if o.JSON {
			return rundir.EncodeJSON(out, told)
		}
		return nil
	}
	if err := rundir.Prepare(o.Bundle); err != nil {
		return err
	}
	if err := rundir.BundleFolder.CheckFor(o.Bundle); err != nil {
		return err
	}
	mean, cov, note, err := s.prior(o.Data, report)
	if err != nil {
		return err
	}
	decoder, err := decoderGraph(s.net, s.Tensors)
	if err != nil {
		return err
	}
	var encoder *onnx.Graph
	names := []string{rundir.FileDecoder, rundir.FileCard}
	if cov != nil {
		names = append(names, rundir.FilePrior)
	}
	if s.HasEncoder {
		if encoder, err = encoderGraph(s.net, s.Tensors); err != nil {
			return err
		}
		names = append(names, rundir.FileEncoder)
	}
	same := rundir.SameFile(s.file, filepath.Join(o.Bundle, rundir.FileDecoder)) || rundir.CardHas(o.Bundle, "sha256 "+s.sha256)
	moved, err := rundir.BundleRoom(o.Bundle, same, names...)
	if err != nil {
		return err
	}
	if moved != "" {
		report.Warn("%s", moved)
	}
	if err := decoder.Save(filepath.Join(o.Bundle, rundir.FileDecoder)); err != nil {
		return term.AsBadInput(err)
	}
	if encoder != nil {
		if err := encoder.Save(filepath.Join(o.Bundle, rundir.FileEncoder)); err != nil {
			return term.AsBadInput(err)
		}
	}
	if cov != nil {
		if err := config.WritePrior(filepath.Join(o.Bundle, rundir.FilePrior), mean, cov); err != nil {
			return err
		}
	}
	err = rundir.WriteAtomic(filepath.Join(o.Bundle, rundir.FileCard), func(w io.Writer) error {
		_, err := io.WriteString(w, s.card(filepath.Base(filepath.Clean(o.Bundle)), note, o.Licence))
		return err
	})
	if err != nil {
		return err
	}
	if o.JSON {
		told["prior"] = note
		return rundir.EncodeJSON(out, told)
	}
	_, err = fmt.Fprintf(out, "%s: %d latents, images of %d x %d; %s\n", o.Bundle, latents, width, height, note)
	return err
}

// side is the width of the images that the decoder makes.
func (v Shape) side() int { return 4 << len(v.Channels) }

// prior is the multivariate normal of the encoded means of the data (Chianese et al. 2020, section 2.1): those of the
// training, varied as in training, or the images of the cube data. note tells what it is; cov is nil for N(0, I).
func (s *ExportSource) prior(data string, report *term.Progress) (mean []float64, cov *mat.SymDense, note string, err error) {
	if !s.HasEncoder {
		if data != "" {
			return nil, nil, "", term.BadInput("%s: has no encoder, and the prior of --data needs one", s.file)
		}
		return nil, nil, "prior N(0, I): the file has no encoder", nil
	}
	images := 0
	var fill func(from int, x []float32)
	L, width, height := s.net.size()
	pixels := width * height
	switch {
	case data != "":
		c, err := trainingCube(data, width, height)
		if err != nil {
			return nil, nil, "", err
		}
		images = c.N
		fill = func(from int, x []float32) { copy(x, c.Pix[from*pixels:min(len(c.Pix), from*pixels+len(x))]) }
		note = fmt.Sprintf("prior of %d encoded images of %s", images, filepath.Base(data))
	case s.record != nil:
		r := &trainRun{opt: &s.record.Options, net: s.net, models: s.record.Models, report: term.NewProgress(io.Discard, true)}
		b, err := r.load()
		if err != nil {
			return nil, nil, "", term.WithHint(fmt.Errorf("the training data give the prior: %w", err), "--data names a cube to take instead")
		}
		if r.record.Key != s.record.Key {
			return nil, nil, "", term.WithHint(term.BadInput("%s: the training data have changed since", s.record.Options.Data), "--data names a cube to take instead")
		}
		images = min(priorImages, 16*(b.sets[0].N+b.besideCount()))
		images -= images % b.Batch
		var step int64
		all := make([]float32, 0, images*pixels)
		for len(all) < images*pixels {
			x := make([]float32, b.Batch*pixels)
			b.fill(step, x, nil)
			all = append(all, x...)
			step++
		}
		fill = func(from int, x []float32) { copy(x, all[from*pixels:min(len(all), from*pixels+len(x))]) }
		note = fmt.Sprintf("prior of %d encoded training images", images)
	default:
		return nil, nil, "prior N(0, I): --data names a cube whose encoded means give a better one", nil
	}
	if images < 2 {
		return nil, nil, "", term.BadInput("%s: found %d images, expected more for a prior of %d latents", data, images, L)
	}
	g, err := encoderGraph(s.net, s.Tensors)
	if err != nil {
		return nil, nil, "", err
	}
	const chunk = 64
	if g, err = diff.BindInput(g, "image", []int64{chunk, 1, int64(height), int64(width)}); err != nil {
		return nil, nil, "", err
	}
	run, err := ort.Open(g, ort.Options{Frugal: true, Room: footprint.AllRoom})
	if err != nil {
		return nil, nil, "", term.AsBadInput(err)
	}
	defer run.Close()
	z := mat.NewDense(images, L, nil)
	for from := 0; from < images; from += chunk {
		fill(from, run.Input("image"))
		if err := run.Run(); err != nil {
			return nil, nil, "", err
		}
		mu := run.Output("mu")
		for i := range min(chunk, images-from) {
			for k := range L {
				z.Set(from+i, k, float64(mu[i*L+k]))
			}
		}
	}
	mean = make([]float64, L)
	for k := range L {
		mean[k] = stat.Mean(mat.Col(nil, k, z), nil)
	}
	cov = mat.NewSymDense(L, nil)
	stat.CovarianceMatrix(cov, z, nil)
	// A latent that encodes nothing has no variance, and fewer images than latents leave directions without any: a
	// millionth of the largest keeps the prior proper.
	largest := 0.0
	for k := range L {
		largest = math.Max(largest, cov.At(k, k))
	}
	for k := range L {
		cov.SetSym(k, k, cov.At(k, k)+1e-6*math.Max(largest, 1e-6))
	}
	return mean, cov, note, nil
}

// card is the bundle's card.md.
func (s *ExportSource) card(name, note, licence string) string {
	var b strings.Builder
	latents, width, height := s.net.size()
	fmt.Fprintf(&b, "# %s\n\n", name)
	if _, ok := s.net.(*customVAE); ok {
		fmt.Fprintf(&b, "A variational autoencoder of an architecture of its own, %d latents, trained from the weights of two ONNX files on.\n\n", latents)
	} else {
		fmt.Fprintf(&b, "The variational autoencoder of Chianese et al. (2020), tables D1 and D2: %d latents, channels %v", latents, s.Shape.Channels)
		if s.HasEncoder {
			fmt.Fprintf(&b, ", %d hidden units", s.Shape.Hidden)
		}
		fmt.Fprintf(&b, ".\n\n")
	}
	fmt.Fprintf(&b, "| | |\n|---|---|\n")
	fmt.Fprintf(&b, "| decoder | `z` [N, %d] to `image` [N, 1, %d, %d], peak near 1 |\n", latents, height, width)
	if s.HasEncoder {
		fmt.Fprintf(&b, "| encoder | `image` [N, 1, %d, %d], background 0 and peak 1, to `mu` and `sigma` [N, %d] |\n", height, width, latents)
	}
	fmt.Fprintf(&b, "| prior | %s |\n", strings.TrimPrefix(strings.TrimPrefix(note, "prior "), "of "))
	fmt.Fprintf(&b, "| weights | %s, sha256 %s |\n", filepath.Base(s.file), s.sha256)
	if licence != "" {
		fmt.Fprintf(&b, "| licence | %s |\n", licence)
	}
	if r := s.record; r != nil && r.Best > 0 {
		e := r.Epochs[r.Best-1]
		train, validation := e.elbo()
		fmt.Fprintf(&b, "| epochs | best of %d: number %d, after %d steps of %d images |\n", len(r.Epochs), r.Best, e.Step, r.Options.Batch)
		fmt.Fprintf(&b, "| ELBO | %.1f on the training set, %.1f on the validation set (reconstruction %.1f, KL %.1f; nats per image, without constant) |\n", train, validation, e.ValidationRec, e.ValidationKL)
		fmt.Fprintf(&b, "| σ_d | %g |\n", r.Options.SigmaD)
		for i, m := range r.Models {
			fmt.Fprintf(&b, "| %s at the start | %s, sha256 %s |\n", [2]string{"encoder", "decoder"}[i%2], filepath.Base(m.Path), m.SHA256)
		}
		for i, d := range r.Data {
			from := ""
			if i < len(r.Origins) && r.Origins[i] != "" {
				from = ", made by `lenskit " + r.Origins[i] + "`"
			}
			fmt.Fprintf(&b, "| data | %s, sha256 %s%s |\n", filepath.Base(d.Path), d.SHA256, from)
		}
		fmt.Fprintf(&b, "\nMade by\n\n    %s\n", r.Command)
	}
	return b.String()
}
