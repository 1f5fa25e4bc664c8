package vae

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"slices"
	"strings"

	"lenskit/internal/disk"
	"lenskit/onnx"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/tensors"
	"lenskit/tools/internal/term"
)

// Files of a training run.
const (
	fileCurves = "curves.png"
	fileSheet  = "reconstructions.png"
)

// Keys in the metadata of the safetensors files of a training run.
const (
	trainMetadata = "lenskit"        // the run's data
	trainChecksum = "lenskit_sha256" // of these data and the tensors
)

// trainRecord is what the files of a run tell beside the tensors.
type trainRecord struct {
	Shape    Shape          `json:"shape"`            // of the built-in architecture
	Models   []rundir.Input `json:"models,omitempty"` // encoder and decoder of a custom one
	Key      string         `json:"key"`              // of the options and data that decide the weights
	Command  string         `json:"command"`
	Data     []rundir.Input `json:"data"`
	Origins  []string       `json:"origins"` // the commands that made the data, where their files tell
	Options  TrainOptions   `json:"options"`
	Step     int64          `json:"step"`
	Partial  trainSums      `json:"partial"` // of the epoch under way
	Epochs   []trainEpoch   `json:"epochs"`
	Best     int            `json:"best"` // number of the epoch with the best validation ELBO, from 1; 0: none yet
	Finished string         `json:"finished,omitempty"`
}

// trainEpoch is a row of the log. The terms are per image, the KL term without its weight.
type trainEpoch struct {
	Step            int64   `json:"step"`
	TrainRec        float64 `json:"train_reconstruction"`
	TrainKL         float64 `json:"train_kl"`
	ValidationRec   float64 `json:"validation_reconstruction"`
	ValidationKL    float64 `json:"validation_kl"`
	Rate            float64 `json:"rate"`
	GradNorm        float64 `json:"gradient_norm"`
	ImagesPerSecond float64 `json:"images_per_second"`
}

// elbo are the ELBO of both sets without the constant of the Gaussian.
func (e trainEpoch) elbo() (train, validation float64) {
	return -e.TrainRec - e.TrainKL, -e.ValidationRec - e.ValidationKL
}

// trainSums are sums over the steps of an epoch.
type trainSums struct {
	Rec      float64 `json:"reconstruction"`
	KL       float64 `json:"kl"`
	GradNorm float64 `json:"gradient_norm"`
	Steps    int64   `json:"steps"`
}

// weights are the tensors of the network by PyTorch's names, in PyTorch's order.
func (t *vaeTrainer) weights() []tensors.Named {
	var ws []tensors.Named
	for _, p := range t.net.params() {
		ws = append(ws, tensors.Named{Name: p.Name, DType: "float32", Tensor: t.tensors[p.Name]})
	}
	return ws
}

// state are the weights and, under adam.m and adam.v, the moments in one piece.
func (t *vaeTrainer) state() []tensors.Named {
	n := int64(len(t.p))
	return append(t.weights(),
		tensors.Named{Name: "adam.m", DType: "float32", Tensor: onnx.FloatTensor(t.m, n)},
		tensors.Named{Name: "adam.v", DType: "float32", Tensor: onnx.FloatTensor(t.v, n)})
}

// save writes the state and the record to path, atomically.
func (r *trainRecord) save(path string, ws []tensors.Named) error {
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return tensors.WriteSafetensorsMeta(path, ws, map[string]string{trainMetadata: string(text), trainChecksum: trainSum(string(text), ws)})
}

// trainSum is the checksum of a run's data and tensors.
func trainSum(text string, ws []tensors.Named) string {
	ws = slices.SortedFunc(slices.Values(ws), func(a, b tensors.Named) int { return strings.Compare(a.Name, b.Name) })
	h := sha256.New()
	fmt.Fprintf(h, "%d %s", len(text), text)
	buf := make([]byte, 0, 1<<16)
	for _, w := range ws {
		fmt.Fprintf(h, "%q %s %v", w.Name, w.DType, w.Tensor.Shape)
		for block := range slices.Chunk(w.Tensor.Floats, cap(buf)/4) {
			buf = buf[:0]
			for _, v := range block {
				buf = binary.LittleEndian.AppendUint32(buf, math.Float32bits(v))
			}
			h.Write(buf)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// checkTrained says that the tensors of a training run's file are not those that were written. Other files, and those of
// earlier versions, have no checksum.
func checkTrained(path string, ws []tensors.Named) (has bool, err error) {
	meta, err := safetensorsMeta(path)
	if err != nil {
		return false, err
	}
	sum := meta[trainChecksum]
	if sum != "" && sum != trainSum(meta[trainMetadata], ws) {
		return true, term.BadInput("%s: its checksum is not that of its content", path)
	}
	return sum != "", nil
}

// readTrainRecord reads the record of a run's safetensors file; nil where it has none.
func readTrainRecord(path string) (*trainRecord, error) {
	meta, err := safetensorsMeta(path)
	if err != nil || meta[trainMetadata] == "" {
		return nil, err
	}
	r := &trainRecord{}
	if err := json.Unmarshal([]byte(meta[trainMetadata]), r); err != nil {
		return nil, term.BadInput("%s: metadata %s: %s", path, trainMetadata, term.JSONReason(err))
	}
	if err := r.Shape.validate(); err != nil && len(r.Models) == 0 {
		return nil, term.BadInput("%s: metadata %s: %w", path, trainMetadata, err)
	}
	return r, nil
}

// safetensorsMeta reads the __metadata__ of a safetensors file; nil where it has none.
func safetensorsMeta(path string) (map[string]string, error) {
	f, size, err := disk.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var head [8]byte
	if _, err := io.ReadFull(f, head[:]); err != nil {
		return nil, term.BadInput("%s: is not a safetensors file: it ends too soon", path)
	}
	n := binary.LittleEndian.Uint64(head[:])
	if n > tensors.MaxSafetensorsHeader || int64(n) > size-8 {
		return nil, term.BadInput("%s: is not a safetensors file: header of %d bytes", path, n)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(f, text); err != nil {
		return nil, term.BadInput("%s: cannot be read: %s", path, term.Reason(err))
	}
	var h struct {
		Meta map[string]string `json:"__metadata__"`
	}
	if err := json.Unmarshal(text, &h); err != nil {
		return nil, term.BadInput("%s: header: %s", path, term.JSONReason(err))
	}
	return h.Meta, nil
}

// restore takes up the state in path, if there is one of the run that key names. A damaged one is none; notice then says
// so.
func (t *vaeTrainer) restore(path, key string) (r *trainRecord, notice string, err error) {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, "", nil
	}
	f, _, err := disk.Open(path)
	if err != nil {
		return nil, "", err
	}
	f.Close()
	damaged := func(err error) (*trainRecord, string, error) {
		return nil, rundir.Unreadable(path, strings.TrimPrefix(err.Error(), path+": ")), nil
	}
	ws, err := tensors.Read(path)
	if err != nil {
		return damaged(err)
	}
	has, err := checkTrained(path, ws)
	if err != nil {
		return damaged(err)
	}
	if r, err = readTrainRecord(path); err != nil {
		return damaged(err)
	}
	if r == nil || r.Key != key {
		return nil, "", term.WithHint(term.BadInput("%s: belongs to a run with other data or options", path), "give another folder with -o, or remove the file to start afresh")
	}
	found := map[string]*onnx.Tensor{}
	for _, w := range ws {
		found[w.Name] = w.Tensor
	}
	state := t.state()
	for _, w := range state {
		if f := found[w.Name]; f == nil || f.Type != onnx.Float32 || !slices.Equal(f.Shape, w.Tensor.Shape) {
			return damaged(fmt.Errorf("has no tensor %s of shape %v", w.Name, w.Tensor.Shape))
		}
	}
	if r.Step < 0 || r.Best < 0 || r.Best > len(r.Epochs) {
		return damaged(fmt.Errorf("found step %d and the best of %d epochs number %d", r.Step, len(r.Epochs), r.Best))
	}
	for _, w := range state {
		copy(w.Tensor.Floats, found[w.Name].Floats)
	}
	t.steps = r.Step
	if !has {
		notice = fmt.Sprintf("%s: has no checksum, as those of earlier versions: taken as it is", path)
	}
	return r, notice, nil
}

// validate checks the extents of an architecture.
func (v Shape) validate() error {
	switch {
	case v.Latents < 1 || v.Latents > 4096:
		return fmt.Errorf("found %d latents, expected 1 to 4096", v.Latents)
	case len(v.Channels) != 4:
		return fmt.Errorf("found %d numbers of channels, expected 4", len(v.Channels))
	case v.Hidden < 1 || v.Hidden > 1<<16:
		return fmt.Errorf("found %d hidden units, expected 1 to 65536", v.Hidden)
	}
	for _, c := range v.Channels {
		if c < 1 || c > 4096 {
			return fmt.Errorf("found %d channels, expected 1 to 4096", c)
		}
	}
	return nil
}

// rateAt is the learning rate of the step after s steps.
func (o *TrainOptions) rateAt(s, total int64) float64 {
	rate := o.Rate
	if o.Warmup > 0 && s < int64(o.Warmup) {
		rate *= float64(s+1) / float64(o.Warmup)
	}
	if o.Schedule == "cosine" {
		rate *= 0.5 * (1 + math.Cos(math.Pi*float64(s)/float64(total)))
	}
	return rate
}
