package vae

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"lenskit/internal/disk"
	"lenskit/onnx/ort"
	"lenskit/tools/galaxies"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"
)

// TrainOptions say what Train does. Those above Threads decide the weights. There are no defaults: Validate names the first field
// that is missing or cannot be.
type TrainOptions struct {
	Data        string  // FITS cube of images of the network's size, 64 x 64
	Beside      string  // a second one, or ""
	BesideShare float64 // of the images of a batch that come from Beside, between 0 and 1
	Validation  string  // a third one; "": HeldBack of Data
	HeldBack    float64 // share of Data that is not trained with, between 0 and 1; 0.03 is the command's

	Shape      Shape   // of the paper's network; Paper is its own
	Encoder    string  `json:",omitempty"` // ONNX files of a custom architecture instead of Shape
	Decoder    string  `json:",omitempty"`
	SigmaD     float64 // standard deviation of a pixel of the decoder, whose images have a peak of 1; 0.02 in the paper
	Samples    int     // M, draws of the latents for each image; 10 in the paper
	Batch      int     // images of a step, 2 or more; 32 in the paper
	Rate       float64 // learning rate of Adam; 1e-6 in the paper
	Schedule   string  // constant or cosine
	Warmup     int     // steps over which the rate rises
	KLWeight   float64 // factor of the KL term; 1 is the ELBO
	KLWarmup   int     // steps over which the KL term's weight rises
	Clip       float64 // largest norm of the gradient; 0: no limit
	Epochs     int     // at most; 450 is the command's
	EpochSteps int     // 0: as many as show each image of Data once
	Patience   int     // epochs without a better validation ELBO before training stops; 0: never
	Augment    Augmentation
	Seed       uint64 // of weights, order, augmentation and noise

	Threads    int           // 0: all
	Device     string        // cpu or cuda
	Output     string        // folder
	SheetEvery int           // epochs between drawings, 1 or more
	SaveEvery  time.Duration // between checkpoints
	Command    string        // the command line, for the record
	JSON       bool          // out gets the record in place of a table

	afterStep func(t *vaeTrainer) // for tests: sees the state after each step, once it is saved
}

// Validate names the first option that cannot be.
func (o *TrainOptions) Validate() error {
	if (o.Encoder == "") != (o.Decoder == "") {
		return term.BadInput("train-vae: found one of --encoder and --decoder, expected both or neither")
	}
	if !o.custom() {
		if err := o.Shape.validate(); err != nil {
			return term.BadInput("train-vae: %w", err)
		}
	}
	for _, c := range []struct {
		ok         bool
		name, want string
		found      any
	}{
		{o.HeldBack > 0 && o.HeldBack < 1, "--hold", "a share between 0 and 1", o.HeldBack},
		{o.Beside == "" || o.BesideShare > 0 && o.BesideShare < 1, "--beside-share", "a share between 0 and 1", o.BesideShare},
		{o.SigmaD > 0 && o.SigmaD <= 10, "--sigma", "0 < sigma <= 10", o.SigmaD},
		{o.Samples >= 1 && o.Samples <= 1000, "--samples", "1 to 1000", o.Samples},
		{o.Batch >= 2 && o.Batch <= 4096, "--batch", "2 to 4096", o.Batch},
		{o.Rate > 0 && o.Rate <= 1, "--rate", "0 < rate <= 1", o.Rate},
		{o.Schedule == "constant" || o.Schedule == "cosine", "--schedule", "constant or cosine", o.Schedule},
		{o.Warmup >= 0, "--warmup", "0 or more", o.Warmup},
		{o.KLWeight >= 0 && o.KLWeight <= 1e6, "--kl-weight", "0 to 1e6", o.KLWeight},
		{o.KLWarmup >= 0, "--kl-warmup", "0 or more", o.KLWarmup},
		{o.Clip >= 0 && term.Finite(o.Clip), "--clip", "0 or more", o.Clip},
		{o.Epochs >= 1 && o.Epochs <= 1e6, "--epochs", "1 to 1000000", o.Epochs},
		{o.EpochSteps >= 0 && o.EpochSteps <= 1e8, "--epoch-steps", "0 or more", o.EpochSteps},
		{o.Patience >= 0, "--patience", "0 or more", o.Patience},
		{o.Augment.Shift >= 0 && o.Augment.Shift <= 32, "--shift", "0 to 32 pixels", o.Augment.Shift},
		{o.Augment.Zoom >= 0 && o.Augment.Zoom <= 4, "--zoom", "0 to 4", o.Augment.Zoom},
		{o.Augment.Noise >= 0 && o.Augment.Noise <= 1, "--noise", "0 to 1 of the peak", o.Augment.Noise},
		{o.SheetEvery >= 1, "--sheet-every", "1 or more epochs", o.SheetEvery},
		{o.SaveEvery >= 0, "--save-every", "a duration of 0 or more", o.SaveEvery},
	} {
		if !c.ok {
			return term.BadInput("train-vae: %s: found %v, expected %s", c.name, c.found, c.want)
		}
	}
	return nil
}

// custom tells whether the architecture comes from ONNX files.
func (o *TrainOptions) custom() bool { return o.Encoder != "" }

// key identifies the runs that go the same way: their data, the files of a custom architecture among them, and the
// options that decide the weights.
func (o *TrainOptions) key(data []rundir.Input) (string, error) {
	k := *o
	k.Data, k.Beside, k.Validation, k.Output, k.Command, k.Encoder, k.Decoder = "", "", "", "", "", "", ""
	k.Threads, k.Device, k.SheetEvery, k.SaveEvery, k.JSON, k.afterStep = 0, "", 0, 0, false, nil
	if k.Schedule == "constant" {
		k.Epochs = 0 // such a run may be made longer
	}
	var sums []string
	for _, d := range data {
		sums = append(sums, d.SHA256)
	}
	h := sha256.New()
	// afterStep, being a function, has no JSON; it is left out because it is not exported.
	if err := json.NewEncoder(h).Encode([]any{k, sums}); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// trainRun is a run of Train.
type trainRun struct {
	opt        *TrainOptions
	net        architecture
	models     []rundir.Input // the files of a custom one
	perEpoch   int64
	total      int64
	train      *vaeTrainer
	check      *vaeChecker
	validation *galaxies.Cube
	record     *trainRecord
	report     *term.Progress
	begun      time.Time
	done       int64 // steps of this process
	epochBegun time.Time
	epochDone  int64
}

// Train trains the network of tables D1 and D2 of Chianese et al. (2020), or a custom one from the weights in its
// files on, on the ELBO (eq. 4) with Adam, or goes on with a run that was stopped, to the bit. It leaves in the output
// folder best.safetensors, training.csv, curves.png, reconstructions.png and checkpoint.safetensors.
func Train(ctx context.Context, o TrainOptions, out io.Writer, report *term.Progress) error {
	report = report.OrSilent()
	if err := o.Validate(); err != nil {
		return err
	}
	r := &trainRun{opt: &o, net: o.Shape, report: report}
	if o.custom() {
		custom, err := loadCustom(o.Encoder, o.Decoder)
		if err != nil {
			return err
		}
		r.net = custom
		for _, file := range []string{o.Encoder, o.Decoder} {
			sum, err := disk.Sum(file)
			if err != nil {
				return err
			}
			r.models = append(r.models, rundir.Input{Path: file, SHA256: sum})
		}
	}
	source, err := r.load()
	if err != nil {
		return err
	}
	leave, err := rundir.Own(ctx, o.Output)
	if err != nil {
		return err
	}
	defer leave()
	if err := rundir.TrainFolder.CheckFor(o.Output); err != nil {
		return err
	}
	session := ort.Options{Threads: o.Threads, Device: o.Device, NoSpin: true}
	r.train, err = newVAETrainer(r.net, r.net.initial(rand.New(rand.NewPCG(o.Seed, 0x696e6974))),
		vaeObjective{Batch: o.Batch, Samples: o.Samples, SigmaD: o.SigmaD},
		adamOptions{Beta1: 0.5, Beta2: 0.999, Epsilon: 1e-8, Clip: o.Clip}, session)
	if err != nil {
		return term.AsBadInput(err)
	}
	defer r.train.close()
	if r.check, err = newVAEChecker(r.net, r.train.tensors, o.Batch, o.SigmaD, session); err != nil {
		return err
	}
	defer r.check.close()
	before, notice, err := r.train.restore(r.path(rundir.FileTrainState), r.record.Key)
	if err != nil {
		return err
	}
	switch {
	case notice != "" && before == nil:
		report.Warn("%s", notice)
	case notice != "":
		report.Say("%s", notice)
	}
	if before == nil {
		moved, err := rundir.MoveAside(o.Output, []string{rundir.FileTrainState, rundir.FileTrainBest, rundir.FileTrainLog, fileCurves, fileSheet, fileCustomEncoder, fileCustomDecoder}, "files of an earlier run")
		if err != nil {
			return err
		}
		if moved != "" {
			report.Warn("%s", moved)
		}
	}
	if before != nil {
		before.Command, before.Options, before.Finished = r.record.Command, r.record.Options, ""
		r.record = before
		report.Say("going on after step %d of %d", before.Step, r.total)
	}
	if custom, ok := r.net.(*customVAE); ok {
		if err := custom.keep(o.Output); err != nil {
			return err
		}
	}
	defer term.GuardOf(ctx).Trusting()() // it stops after a step
	err = r.loop(ctx, source)
	if err == nil {
		err = r.finish(out)
	}
	return err
}

func (r *trainRun) path(file string) string { return filepath.Join(r.opt.Output, file) }

// load reads the data and begins the record.
func (r *trainRun) load() (*batchSource, error) {
	o := r.opt
	r.record = &trainRecord{Shape: o.Shape, Models: r.models, Command: o.Command, Options: *o}
	latents, width, height := r.net.size()
	read := func(path string) (*galaxies.Cube, error) {
		sum, err := disk.Sum(path)
		if err != nil {
			return nil, err
		}
		c, err := trainingCube(path, width, height)
		if err != nil {
			return nil, err
		}
		r.record.Data = append(r.record.Data, rundir.Input{Path: path, SHA256: sum})
		r.record.Origins = append(r.record.Origins, c.Origin)
		return c, nil
	}
	data, err := read(o.Data)
	if err != nil {
		return nil, err
	}
	if o.Validation != "" {
		if r.validation, err = read(o.Validation); err != nil {
			return nil, err
		}
	} else if data, r.validation, err = split(data, o.HeldBack); err != nil {
		return nil, term.BadInput("%s: %w", o.Data, err)
	}
	b := &batchSource{sets: []*galaxies.Cube{data}, Batch: o.Batch, Eps: o.Batch * o.Samples * latents, Seed: o.Seed, Augment: o.Augment}
	if o.Beside != "" {
		more, err := read(o.Beside)
		if err != nil {
			return nil, err
		}
		b.sets = append(b.sets, more)
		b.Beside = min(max(1, int(o.BesideShare*float64(o.Batch)+0.5)), o.Batch-1)
	}
	r.perEpoch = int64(o.EpochSteps)
	if r.perEpoch == 0 {
		per := o.Batch - b.Beside
		r.perEpoch = int64((data.N + per - 1) / per)
	}
	r.total = r.perEpoch * int64(o.Epochs)
	if r.record.Key, err = o.key(slices.Concat(r.record.Data, r.models)); err != nil {
		return nil, err
	}
	r.report.Say("%d images to train on, %d for validation, %d steps an epoch", data.N+b.besideCount(), r.validation.N, r.perEpoch)
	return b, nil
}

func (b *batchSource) besideCount() int {
	if len(b.sets) > 1 {
		return b.sets[1].N
	}
	return 0
}

// loop makes the steps that are left.
func (r *trainRun) loop(ctx context.Context, source *batchSource) error {
	o := r.opt
	next, stop := source.start(r.train.steps)
	defer stop()
	r.begun = time.Now()
	r.epochBegun = r.begun
	r.report.Stage("training", int(r.total))
	r.report.Marks[0].Step = int(r.train.steps)
	defer r.report.End()
	saved := time.Now()
	for r.train.steps < r.total && !r.exhausted() {
		if ctx.Err() != nil {
			if err := r.save(); err != nil {
				return err
			}
			return term.Interrupted("%s: %w; the same command goes on after step %d of %d", o.Output, context.Cause(ctx), r.train.steps, r.total)
		}
		s := r.train.steps
		b := next()
		beta := o.KLWeight
		if o.KLWarmup > 0 {
			beta *= min(1, float64(s+1)/float64(o.KLWarmup))
		}
		got, err := r.train.step(b.x, b.eps, beta, o.rateAt(s, r.total))
		if err != nil {
			var f *term.Failure
			if errors.As(err, &f) && f.Code == term.ExitNumerical {
				return term.WithHint(fmt.Errorf("%s: %w", o.Output, err), "the last good state is in %s; a lower --rate, or --clip 1000, may help", r.path(rundir.FileTrainState))
			}
			return err
		}
		p := &r.record.Partial
		p.Rec += got.Reconstruction
		p.KL += got.KL
		p.GradNorm += got.GradNorm
		p.Steps++
		r.record.Step = r.train.steps
		r.done++
		r.epochDone++
		if r.train.steps%r.perEpoch == 0 {
			if err := r.endEpoch(); err != nil {
				return err
			}
		}
		r.report.Step(term.ProgressState{Step: int(r.train.steps), LogPost: math.NaN(), ReducedChi2: math.NaN(), Text: fmt.Sprintf("loss %.1f, %s", got.Loss, r.speed())})
		if time.Since(saved) >= o.SaveEvery {
			if err := r.save(); err != nil {
				return err
			}
			saved = time.Now()
		}
		if o.afterStep != nil {
			o.afterStep(r.train)
		}
	}
	return nil
}

// speed tells images a second.
func (r *trainRun) speed() string {
	return fmt.Sprintf("%.0f images/s", float64(r.done)*float64(r.opt.Batch)/time.Since(r.begun).Seconds())
}

// pace tells images a second and the time left.
func (r *trainRun) pace() string {
	left := time.Duration(float64(time.Since(r.begun)) / float64(max(1, r.done)) * float64(r.total-r.train.steps))
	return fmt.Sprintf("%s, %s left", r.speed(), term.Seconds(left))
}

// exhausted tells whether the validation ELBO has not improved for as long as patience lasts.
func (r *trainRun) exhausted() bool {
	return r.opt.Patience > 0 && r.record.Best > 0 && len(r.record.Epochs)-r.record.Best >= r.opt.Patience
}

// endEpoch measures the validation set, tells, and writes what an epoch leaves.
func (r *trainRun) endEpoch() error {
	rec, kl, err := r.check.elbo(r.validation)
	if err != nil {
		return err
	}
	if !term.Finite(rec) || !term.Finite(kl) {
		return term.Numerical("%s: training diverged at step %d: the validation ELBO is %g", r.opt.Output, r.train.steps, -rec-kl)
	}
	p := r.record.Partial
	n := float64(p.Steps)
	e := trainEpoch{
		Step: r.train.steps, TrainRec: p.Rec / n, TrainKL: p.KL / n, ValidationRec: rec, ValidationKL: kl,
		Rate: r.opt.rateAt(r.train.steps-1, r.total), GradNorm: p.GradNorm / n,
		ImagesPerSecond: float64(r.epochDone) * float64(r.opt.Batch) / time.Since(r.epochBegun).Seconds(),
	}
	r.record.Epochs = append(r.record.Epochs, e)
	r.record.Partial = trainSums{}
	train, validation := e.elbo()
	number := len(r.record.Epochs)
	better := r.record.Best == 0
	if !better {
		_, best := r.record.Epochs[r.record.Best-1].elbo()
		better = validation > best
	}
	mark := ""
	if better {
		r.record.Best = number
		mark = ", the best yet"
		if err := r.record.save(r.path(rundir.FileTrainBest), r.train.weights()); err != nil {
			return err
		}
	}
	r.report.Say("epoch %d of %d: ELBO %.1f, validation %.1f (reconstruction %.1f, KL %.1f)%s; %s",
		number, r.opt.Epochs, train, validation, rec, kl, mark, r.pace())
	if err := r.writeLog(); err != nil {
		return err
	}
	if number%r.opt.SheetEvery == 0 || number == 1 || r.train.steps == r.total {
		if err := r.draw(); err != nil {
			return err
		}
	}
	r.epochBegun, r.epochDone = time.Now(), 0
	return nil
}

// draw writes the curves and the contact sheet.
func (r *trainRun) draw() error {
	if err := drawCurves(r.path(fileCurves), r.record.Epochs); err != nil {
		return err
	}
	originals, decoded, err := r.check.reconstructions(r.validation, 24)
	if err != nil {
		return err
	}
	return galaxies.WriteSheet(r.path(fileSheet), pairs(originals, decoded, 12), r.validation.W, r.validation.H, 12)
}

// pairs lays rows of originals above their reconstructions.
func pairs(originals, decoded [][]float64, columns int) [][]float64 {
	var out [][]float64
	columns = min(columns, len(originals))
	blank := make([]float64, len(originals[0]))
	for row := 0; row < len(originals); row += columns {
		for _, set := range [2][][]float64{originals, decoded} {
			for k := row; k < row+columns; k++ {
				if k < len(set) {
					out = append(out, set[k])
				} else {
					out = append(out, blank)
				}
			}
		}
	}
	return out
}

// writeLog writes training.csv.
func (r *trainRun) writeLog() error {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	w.Write([]string{"epoch", "step", "train_elbo", "train_reconstruction", "train_kl", "validation_elbo", "validation_reconstruction", "validation_kl", "rate", "gradient_norm", "images_per_second"})
	for i, e := range r.record.Epochs {
		row := []string{strconv.Itoa(i + 1), strconv.FormatInt(e.Step, 10)}
		train, validation := e.elbo()
		for _, v := range []float64{train, e.TrainRec, e.TrainKL, validation, e.ValidationRec, e.ValidationKL, e.Rate, e.GradNorm, e.ImagesPerSecond} {
			row = append(row, strconv.FormatFloat(v, 'g', 7, 64))
		}
		w.Write(row)
	}
	w.Flush()
	return rundir.WriteAtomic(r.path(rundir.FileTrainLog), func(f io.Writer) error {
		_, err := f.Write(b.Bytes())
		return err
	})
}

func (r *trainRun) save() error { return r.record.save(r.path(rundir.FileTrainState), r.train.state()) }

// finish writes the last state and tells the outcome.
func (r *trainRun) finish(out io.Writer) error {
	r.record.Finished = "all steps made"
	if r.exhausted() {
		r.record.Finished = fmt.Sprintf("no better validation ELBO in %d epochs", r.opt.Patience)
	}
	if err := r.save(); err != nil {
		return err
	}
	if len(r.record.Epochs) > 0 {
		if err := r.draw(); err != nil {
			return err
		}
	}
	best := r.record.Epochs[r.record.Best-1]
	_, elbo := best.elbo()
	if r.opt.JSON {
		return rundir.EncodeJSON(out, map[string]any{
			"folder": r.opt.Output, "weights": r.path(rundir.FileTrainBest), "steps": r.record.Step, "epochs": len(r.record.Epochs), "best_epoch": r.record.Best,
			"validation_elbo": elbo, "validation_reconstruction": best.ValidationRec, "validation_kl": best.ValidationKL, "ended": r.record.Finished,
		})
	}
	_, err := fmt.Fprintf(out, "%s: epoch %d of %d, validation ELBO %.1f (reconstruction %.1f, KL %.1f); %s\n",
		r.path(rundir.FileTrainBest), r.record.Best, len(r.record.Epochs), elbo, best.ValidationRec, best.ValidationKL, r.record.Finished)
	return err
}
