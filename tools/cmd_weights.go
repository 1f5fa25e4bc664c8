package tools

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"
)

func weightsCommand() *cli.Command {
	return &cli.Command{
		Name:      "weights",
		Usage:     "list the tensors of a PyTorch or safetensors file",
		ArgsUsage: "FILE.pt|.pth|.safetensors",
		Description: "Reads what torch.save writes (zip and legacy containers) and safetensors. Nothing in the file is executed.\n" +
			"Example: lenskit weights vae.pt --json",
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return badInput("weights: found %d arguments, expected one file", c.NArg())
			}
			ws, err := readWeights(c.Args().First())
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return json.NewEncoder(c.App.Writer).Encode(map[string]any{"tensors": summarise(ws)})
			}
			t := tabwriter.NewWriter(c.App.Writer, 0, 8, 2, ' ', 0)
			fmt.Fprintln(t, "tensor\ttype\tshape\tsum")
			for _, w := range ws {
				fmt.Fprintf(t, "%s\t%s\t%s\t%g\n", w.Name, w.DType, strings.ReplaceAll(fmt.Sprint(w.Tensor.Shape), " ", ", "), sum(w))
			}
			return t.Flush()
		},
	}
}

// tensorSummary is what `weights --json` tells of one tensor. NaN and infinities, which JSON lacks, are the strings
// "NaN", "Infinity" and "-Infinity".
type tensorSummary struct {
	DType string  `json:"dtype"`
	Shape []int64 `json:"shape"`
	First []any   `json:"first"`
	Sum   any     `json:"sum"`
}

func summarise(ws []weight) map[string]tensorSummary {
	out := map[string]tensorSummary{}
	for _, w := range ws {
		s := tensorSummary{DType: w.DType, Shape: append([]int64{}, w.Tensor.Shape...), First: []any{}, Sum: jsonNumber(sum(w))}
		for i := range min(6, w.Tensor.Size()) {
			s.First = append(s.First, jsonNumber(w.Tensor.Float(i)))
		}
		out[w.Name] = s
	}
	return out
}

func sum(w weight) float64 {
	s := 0.0
	for i := range w.Tensor.Size() {
		s += w.Tensor.Float(i)
	}
	return s
}

func jsonNumber(v float64) any {
	switch {
	case math.IsNaN(v):
		return "NaN"
	case math.IsInf(v, 1):
		return "Infinity"
	case math.IsInf(v, -1):
		return "-Infinity"
	}
	return v
}
