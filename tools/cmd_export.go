package tools

import (
	"github.com/urfave/cli/v2"
	"lenskit/tools/internal/term"
	"lenskit/tools/vae"
)

func exportCommand() *cli.Command {
	return &cli.Command{
		Name:      "export-vae",
		Usage:     "make a decoder bundle of trained weights, or weights for PyTorch",
		ArgsUsage: "RUN|weights.pt|.pth|.safetensors|BUNDLE",
		UsageText: "lenskit export-vae RUN|WEIGHTS -o models/NAME\nlenskit export-vae RUN|WEIGHTS|BUNDLE --to-torch FILE.safetensors",
		Description: "Reads the folder of a training run (its best weights), one of its files, or the state dict of a PyTorch network of tables\n" +
			"D1 and D2 with any numbers of channels and latents: whole, or the decoder alone. Prefixes of the names do not matter; layers are\n" +
			"found by order and shape, and a table tells what matched when they are not. Nothing in a file is executed.\n" +
			"PyTorch loads the file of --to-torch with model.load_state_dict(safetensors.torch.load_file(FILE)).\n\n" +
			"Example: lenskit export-vae out/vae -o models/mine",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "o", Aliases: []string{"output"}, Usage: "the bundle's `FOLDER`"},
			&cli.StringFlag{Name: "to-torch", Usage: "the safetensors `FILE` to write"},
			&cli.StringFlag{Name: "data", Usage: "a `CUBE` whose encoded means give the prior (default: the training data)"},
			&cli.StringFlag{Name: "licence", Usage: "of the weights, for the bundle's card"},
		},
		Action: func(c *cli.Context) error {
			args, err := arguments(c, "WEIGHTS")
			if err != nil {
				return err
			}
			o := vae.ExportOptions{Input: args[0], Bundle: c.String("o"), Torch: c.String("to-torch"), Data: c.String("data"), Licence: c.String("licence"), JSON: c.Bool("json")}
			return vae.Export(o, c.App.Writer, term.NewProgress(c.App.ErrWriter, c.Bool("quiet")))
		},
	}
}
