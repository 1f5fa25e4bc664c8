package tools

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"
	"lenskit/internal/disk"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/tensors"
	"lenskit/tools/internal/term"
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
				return term.BadInput("weights: found %d arguments, expected one file", c.NArg())
			}
			f, err := tensors.Open(c.Args().First())
			if err != nil {
				return err
			}
			defer f.Close()
			list := make([]tensorSummary, len(f.List))
			for i := range f.List {
				if list[i], err = summarise(&f.List[i]); err != nil {
					return term.BadInput("%s: tensor %q: cannot be read: %s", c.Args().First(), term.Shown(f.List[i].Name), disk.Reason(err))
				}
			}
			if c.Bool("json") {
				tensors := map[string]tensorSummary{}
				for i, s := range list {
					tensors[f.List[i].Name] = s
				}
				return json.NewEncoder(rundir.Escaped{W: c.App.Writer}).Encode(map[string]any{"tensors": tensors})
			}
			t := tabwriter.NewWriter(c.App.Writer, 0, 8, 2, ' ', 0)
			fmt.Fprintln(t, "tensor\ttype\tshape\tsum")
			for i, s := range list {
				fmt.Fprintf(t, "%s\t%s\t%s\t%v\n", term.Shown(f.List[i].Name), s.DType, strings.ReplaceAll(fmt.Sprint(s.Shape), " ", ", "), s.Sum)
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

func summarise(t *tensors.Stored) (tensorSummary, error) {
	s := tensorSummary{DType: t.Elem.Name, Shape: append([]int64{}, t.Shape...), First: []any{}}
	sum := 0.0
	err := t.Each(func(i int, w uint64) {
		v := t.Elem.Value(w)
		sum += v
		if i < 6 {
			s.First = append(s.First, jsonNumber(v))
		}
	})
	s.Sum = jsonNumber(sum)
	return s, err
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
