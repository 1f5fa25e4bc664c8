package tools

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"lenskit/tools/internal/term"
	"lenskit/tools/vae"
)

func trainCommand() *cli.Command {
	return &cli.Command{
		Name:      "train-vae",
		Usage:     "train the source model on galaxy images",
		ArgsUsage: "DATA.fits",
		UsageText: "lenskit train-vae DATA.fits -o DIR [flags]",
		Description: "DATA.fits is a cube of 64 x 64 images, or of those of your own network's size, background 0. The defaults are the paper's\n" +
			"(tables D1 and D2, appendix C); a rate between 1e-4 and 1e-3 with --clip 1000 trains far faster. Leaves best.safetensors\n" +
			"(the weights with the best validation ELBO), training.csv, curves.png, reconstructions.png and checkpoint.safetensors in\n" +
			"DIR. Stopped by SIGINT, SIGTERM or SIGUSR1 it saves and exits with 75; the same command goes on from there, to the bit.\n\n" +
			"--encoder and --decoder fine-tune an architecture of your own, from the weights in its ONNX files on. The encoder has two\n" +
			"outputs [N L], mean and log σ (or log variance, named so, or σ, named sigma), or one [N 2L]. BatchNorm is taken as exported\n" +
			"for inference: its statistics stay as they are, its scale and bias are trained.\n\n" +
			"Example, a taste in a minute: lenskit dataset synth -o galaxies.fits --count 3000\n" +
			"                             lenskit train-vae galaxies.fits -o out/vae --channels 16,32,64,128 --hidden 512 --samples 1 \\\n" +
			"                      --rate 1e-3 --schedule cosine --clip 1000 --epochs 8",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "the `FOLDER` of the run"},
			&cli.StringFlag{Name: "beside", Usage: "a second `CUBE`, with which part of each batch is filled"},
			&cli.Float64Flag{Name: "beside-share", Usage: "that part", Value: 0.5},
			&cli.StringFlag{Name: "validation", Usage: "a `CUBE` to validate with (default: part of DATA)"},
			&cli.Float64Flag{Name: "hold", Usage: "that part, evenly spread", Value: 0.03},
			&cli.IntFlag{Name: "latents", Usage: "dimensions of the latent space", Value: vae.Paper.Latents},
			&cli.StringFlag{Name: "channels", Usage: "of the encoder's four convolutions; the decoder mirrors them", Value: "64,128,256,512"},
			&cli.IntFlag{Name: "hidden", Usage: "outputs of the encoder's last convolution", Value: vae.Paper.Hidden},
			&cli.StringFlag{Name: "encoder", Usage: "a custom encoder's ONNX `FILE`, images [N 1 H W] to mean and log σ, instead of these; goes with --decoder"},
			&cli.StringFlag{Name: "decoder", Usage: "a custom decoder's ONNX `FILE`, latents [N L] to images [N 1 H W]"},
			&cli.Float64Flag{Name: "sigma", Usage: "σ_d, the decoder's standard deviation", Value: 0.02},
			&cli.IntFlag{Name: "samples", Usage: "M, draws of the latents for each image", Value: 10},
			&cli.IntFlag{Name: "batch", Usage: "images a step", Value: 32},
			&cli.Float64Flag{Name: "rate", Usage: "learning rate of Adam", Value: 1e-6},
			&cli.StringFlag{Name: "schedule", Usage: "of the rate: constant or cosine (to 0 at the last epoch)", Value: "constant"},
			&cli.IntFlag{Name: "warmup", Usage: "steps over which the rate rises"},
			&cli.Float64Flag{Name: "kl-weight", Usage: "factor of the KL term", Value: 1},
			&cli.IntFlag{Name: "kl-warmup", Usage: "steps over which it rises from 0"},
			&cli.Float64Flag{Name: "clip", Usage: "largest norm of the gradient; 0: no limit"},
			&cli.IntFlag{Name: "epochs", Usage: "at most", Value: 450},
			&cli.IntFlag{Name: "epoch-steps", Usage: "steps of an epoch; 0: as many as show each image once"},
			&cli.IntFlag{Name: "patience", Usage: "epochs without a better validation ELBO before training stops; 0: never", Value: 20},
			&cli.BoolFlag{Name: "rotate", Usage: "turn the images by any angle"},
			&cli.BoolFlag{Name: "flip", Usage: "mirror half of them"},
			&cli.Float64Flag{Name: "shift", Usage: "move them by up to so many pixels"},
			&cli.Float64Flag{Name: "zoom", Usage: "magnify them by up to 1 + ZOOM, or shrink them"},
			&cli.Float64Flag{Name: "noise", Usage: "add noise of up to this share of the peak"},
			&cli.Uint64Flag{Name: "seed", Usage: "of weights, order, augmentation and noise", Value: 1},
			&cli.IntFlag{Name: "sheet-every", Usage: "epochs between drawings of curves and reconstructions", Value: 5},
			&cli.DurationFlag{Name: "save-every", Usage: "time between checkpoints", Value: 10 * time.Minute},
			&cli.IntFlag{Name: "threads", Usage: "number of threads; 0: all"},
			&cli.StringFlag{Name: "device", Usage: "cpu or cuda", Value: "cpu"},
		},
		Action: runTrain,
	}
}

func runTrain(c *cli.Context) error {
	args, err := arguments(c, "DATA.fits")
	if err != nil {
		return err
	}
	dir, err := output(c, "FOLDER")
	if err != nil {
		return err
	}
	shape := vae.Shape{Latents: c.Int("latents"), Hidden: c.Int("hidden")}
	for _, word := range strings.Split(c.String("channels"), ",") {
		n, err := strconv.Atoi(strings.TrimSpace(word))
		if err != nil {
			return term.BadInput("train-vae: --channels: found %q, expected four numbers as in 64,128,256,512", c.String("channels"))
		}
		shape.Channels = append(shape.Channels, n)
	}
	if c.IsSet("encoder") || c.IsSet("decoder") {
		for _, flag := range []string{"latents", "channels", "hidden"} {
			if c.IsSet(flag) {
				return term.BadInput("train-vae: --%s: found a custom architecture, whose files tell its extents", flag)
			}
		}
		shape = vae.Shape{}
	}
	o := vae.TrainOptions{
		Data: args[0], Beside: c.String("beside"), BesideShare: c.Float64("beside-share"), Validation: c.String("validation"), HeldBack: c.Float64("hold"),
		Shape: shape, Encoder: c.String("encoder"), Decoder: c.String("decoder"),
		SigmaD: c.Float64("sigma"), Samples: c.Int("samples"), Batch: c.Int("batch"),
		Rate: c.Float64("rate"), Schedule: c.String("schedule"), Warmup: c.Int("warmup"),
		KLWeight: c.Float64("kl-weight"), KLWarmup: c.Int("kl-warmup"), Clip: c.Float64("clip"),
		Epochs: c.Int("epochs"), EpochSteps: c.Int("epoch-steps"), Patience: c.Int("patience"),
		Augment: vae.Augmentation{Rotate: c.Bool("rotate"), Flip: c.Bool("flip"), Shift: c.Float64("shift"), Zoom: c.Float64("zoom"), Noise: c.Float64("noise")},
		Seed:    c.Uint64("seed"), Threads: c.Int("threads"), Device: c.String("device"), Output: dir,
		SheetEvery: c.Int("sheet-every"), SaveEvery: c.Duration("save-every"), JSON: c.Bool("json"),
	}
	if o.Threads < 0 || o.Threads > 4096 {
		return term.BadInput("--threads: found %d, expected 0 to 4096", o.Threads)
	}
	if o.Device != "cpu" && o.Device != "cuda" {
		return term.BadInput("--device: found %q, expected cpu or cuda", o.Device)
	}
	o.Command = trainCommandLine(c, args[0], dir)
	ctx, stop := term.WithSignals(c.Context)
	defer stop()
	return vae.Train(ctx, o, c.App.Writer, term.NewProgress(c.App.ErrWriter, c.Bool("quiet")))
}

// trainCommandLine is the command with the flags that decide its result, files by their base names.
func trainCommandLine(c *cli.Context, data, dir string) string {
	var b strings.Builder
	b.WriteString("lenskit train-vae " + filepath.Base(data) + " -o " + filepath.Base(dir))
	for _, f := range c.Command.Flags {
		name := f.Names()[0]
		switch name {
		case "output", "sheet-every", "save-every", "threads", "device", "json", "quiet", "help":
			continue
		}
		if !c.IsSet(name) {
			continue
		}
		b.WriteString(" --" + name)
		if _, isBool := f.(*cli.BoolFlag); isBool {
			continue
		}
		v := fmt.Sprint(c.Value(name))
		if _, isText := f.(*cli.StringFlag); isText {
			v = filepath.Base(v)
		}
		b.WriteString(" " + v)
	}
	return b.String()
}
