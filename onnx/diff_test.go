package onnx

import (
	"archive/zip"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"lenskit/internal/check"
)

// npz reads the float arrays of a NumPy archive.
func npz(t *testing.T, path string) map[string]*Array {
	t.Helper()
	z, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	out := map[string]*Array{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		r.Close()
		if err != nil {
			t.Fatal(err)
		}
		size := int(binary.LittleEndian.Uint16(b[8:]))
		head, data := string(b[10:10+size]), b[10+size:]
		_, tuple, _ := strings.Cut(head, "'shape': (")
		tuple, _, _ = strings.Cut(tuple, ")")
		a := FloatArray(nil)
		n := 1
		for _, s := range strings.Split(tuple, ",") {
			if s = strings.TrimSpace(s); s != "" {
				d, err := strconv.Atoi(s)
				if err != nil {
					t.Fatal(err)
				}
				a.Shape = append(a.Shape, int64(d))
				n *= d
			}
		}
		for i := range n {
			switch {
			case strings.Contains(head, "'<f4'"):
				a.F = append(a.F, float64(math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))))
			case strings.Contains(head, "'<f8'"):
				a.F = append(a.F, math.Float64frombits(binary.LittleEndian.Uint64(data[8*i:])))
			default:
				t.Fatalf("%s: %s", f.Name, head)
			}
		}
		out[strings.TrimSuffix(f.Name, ".npy")] = a
	}
	return out
}

// apartBy is the largest difference of a and b relative to the largest magnitude of b.
func apartBy(t *testing.T, a, b *Array) float64 {
	t.Helper()
	if !slices.Equal(a.Shape, b.Shape) {
		t.Fatalf("found shape %v, expected %v", a.Shape, b.Shape)
	}
	worst, scale := 0.0, 0.0
	for i := range b.F {
		worst = max(worst, math.Abs(a.F[i]-b.F[i]))
		scale = max(scale, math.Abs(b.F[i]))
	}
	return worst / scale
}

var decoderNames = []string{"dcgan", "dcgan_bias_lrelu", "up_nearest_gn_silu", "up_bilinear_bn_gelu", "pixshuf", "mlp_ln_gelu", "res_att", "stylemod"}

func TestDecodersMatchPyTorch(t *testing.T) {
	for _, name := range decoderNames {
		for _, exporter := range []string{"dynamo", "legacy"} {
			t.Run(name+"/"+exporter, func(t *testing.T) {
				ref := npz(t, check.Shared(t, "decoders/"+name+".npz"))
				g, err := Load(check.Shared(t, "decoders/"+name+"."+exporter+".onnx"))
				if err != nil {
					t.Fatal(err)
				}
				in, out := g.Inputs[0].Name, g.Outputs[0].Name
				feed := map[string]*Array{in: ref["z"], "grad_" + out: ref["gx"], "tangent_" + in: ref["tz"]}
				near := func(what string, got, want *Array) {
					t.Helper()
					if d := apartBy(t, got, want); !(d < 1e-6) {
						t.Errorf("%s differs by %.3g of its largest", what, d)
					}
				}
				vjp, err := VJP(g, DiffOptions{})
				if err != nil {
					t.Fatal(err)
				}
				res := runGraph(t, vjp, feed)
				near("output", res[out], ref["x64"])
				near("vjp", res["grad_"+in], ref["gz64"])
				jvp, err := JVP(g, DiffOptions{})
				if err != nil {
					t.Fatal(err)
				}
				near("jvp", runGraph(t, jvp, feed)["tangent_"+out], ref["jvp64"])
				pair, err := Split(g, DiffOptions{})
				if err != nil {
					t.Fatal(err)
				}
				mid := runGraph(t, pair.Forward, feed)
				for _, s := range pair.Saved {
					if mid[s] != nil {
						feed[s] = mid[s]
					}
				}
				near("split vjp", runGraph(t, pair.Backward, feed)["grad_"+in], ref["gz64"])
				if errs := Unsupported(g, DiffOptions{}); len(errs) != 0 {
					t.Errorf("unsupported: %v", errs)
				}
			})
		}
	}
}

func TestJacobianRowsAreJVPs(t *testing.T) {
	for _, name := range decoderNames {
		for _, columns := range []int{0, 3} {
			for _, fixed := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%d/%v", name, columns, fixed), func(t *testing.T) {
					if testing.Short() && (columns == 0 || name != "res_att" && name != "stylemod") {
						t.Skip("one size is enough in a short run")
					}
					g, err := Load(check.Shared(t, "decoders/"+name+".dynamo.onnx"))
					if err != nil {
						t.Fatal(err)
					}
					in, out := g.Inputs[0].Name, g.Outputs[0].Name
					latents := g.Inputs[0].Shape[1].N
					if fixed {
						if g, err = g.BindInput(in, []int64{1, latents}); err != nil {
							t.Fatal(err)
						}
					}
					jac, err := Jacobian(g, DiffOptions{Columns: columns})
					if err != nil {
						t.Fatal(err)
					}
					jvp, err := JVP(g, DiffOptions{})
					if err != nil {
						t.Fatal(err)
					}
					rng := rand.New(rand.NewPCG(5, 6))
					z := FloatArray(check.Normals(rng, int(latents)), 1, latents)
					k := 3
					tz := FloatArray(check.Normals(rng, k*int(latents)), int64(k), latents)
					res := runGraph(t, jac, map[string]*Array{in: z, "tangent_" + in: tz})
					all := res["tangent_"+out]
					if all.Shape[0] != int64(k) || res[out].Shape[0] != 1 {
						t.Fatalf("found shapes %v and %v", all.Shape, res[out].Shape)
					}
					per := all.Len() / k
					for row := range k {
						row0 := FloatArray(tz.F[row*int(latents):(row+1)*int(latents)], 1, latents)
						one := runGraph(t, jvp, map[string]*Array{in: z, "tangent_" + in: row0})["tangent_"+out]
						if d := apartBy(t, FloatArray(all.F[row*per:(row+1)*per], one.Shape...), one); !(d < 1e-9) {
							t.Errorf("row %d differs by %.3g of its largest", row, d)
						}
					}
				})
			}
		}
	}
}

func TestDerivedGraphsInOnnxruntimeMatchPyTorch(t *testing.T) {
	for _, name := range decoderNames {
		for _, exporter := range []string{"dynamo", "legacy"} {
			t.Run(name+"/"+exporter, func(t *testing.T) {
				ref := npz(t, check.Shared(t, "decoders/"+name+".npz"))
				g, err := Load(check.Shared(t, "decoders/"+name+"."+exporter+".onnx"))
				if err != nil {
					t.Fatal(err)
				}
				in, out := g.Inputs[0].Name, g.Outputs[0].Name
				if g, err = g.BindInput(in, ref["z"].Shape); err != nil {
					t.Fatal(err)
				}
				near := func(what string, got []float32, want *Array) {
					t.Helper()
					a := FloatArray(nil, want.Shape...)
					for _, v := range got {
						a.F = append(a.F, float64(v))
					}
					// Two float32 programs may fall on different sides of a kink.
					if d := apartBy(t, a, want); !(d < 1e-4) {
						t.Errorf("%s differs by %.3g of its largest", what, d)
					}
				}
				fill := func(s *Session, name string, a *Array) {
					for i, v := range a.F {
						s.Input(name)[i] = float32(v)
					}
				}
				vjp, err := VJP(g, DiffOptions{})
				if err != nil {
					t.Fatal(err)
				}
				s := open(t, vjp, SessionOptions{Threads: 1})
				fill(s, in, ref["z"])
				fill(s, "grad_"+out, ref["gx"])
				if err := s.Run(); err != nil {
					t.Fatal(err)
				}
				near("output", s.Output(out), ref["x64"])
				near("vjp", s.Output("grad_"+in), ref["gz64"])
				jvp, err := JVP(g, DiffOptions{})
				if err != nil {
					t.Fatal(err)
				}
				s = open(t, jvp, SessionOptions{Threads: 1})
				fill(s, in, ref["z"])
				fill(s, "tangent_"+in, ref["tz"])
				if err := s.Run(); err != nil {
					t.Fatal(err)
				}
				near("jvp", s.Output("tangent_"+out), ref["jvp64"])
			})
		}
	}
}

// The standard's checker, in Python, looks at every derived file.
func TestDerivedFilesPassTheCheckerOfOnnx(t *testing.T) {
	python := pythonWithONNX(t)
	dir := t.TempDir()
	save := func(name string, g *Graph, err error) {
		t.Helper()
		if err == nil {
			err = g.Save(filepath.Join(dir, name+".onnx"))
		}
		if err != nil {
			t.Fatal(name, err)
		}
	}
	derive := func(name string, g *Graph, opt DiffOptions) {
		d, err := VJP(g, opt)
		save(name+".vjp", d, err)
		d, err = JVP(g, opt)
		save(name+".jvp", d, err)
		p, err := Split(g, opt)
		if err != nil {
			t.Fatal(name, err)
		}
		save(name+".forward", p.Forward, nil)
		save(name+".backward", p.Backward, nil)
	}
	for _, name := range decoderNames {
		for _, exporter := range []string{"dynamo", "legacy"} {
			g, err := Load(check.Shared(t, "decoders/"+name+"."+exporter+".onnx"))
			if err != nil {
				t.Fatal(err)
			}
			derive(name+"."+exporter, g, DiffOptions{})
			d, err := Jacobian(g, DiffOptions{})
			save(name+"."+exporter+".jacobian", d, err)
		}
	}
	for k, c := range ruleCases() {
		g, wrt := c.graph(!c.fixed && c.op != "Squeeze")
		if err := g.Infer(); err != nil {
			t.Fatal(err)
		}
		derive(fmt.Sprint(c.op, k), g, DiffOptions{Wrt: wrt})
	}
	script := `import sys, glob, onnx
for f in glob.glob(sys.argv[1] + "/*.onnx"):
    try: onnx.checker.check_model(f, full_check=True)
    except Exception as e: print(f.split("/")[-1], str(e)[:400])`
	out, err := exec.Command(python, "-c", script, dir).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}
