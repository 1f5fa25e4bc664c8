package diff

import (
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"testing"

	"lenskit/internal/check"
	"lenskit/onnx"
	"lenskit/onnx/eval"
	"lenskit/onnx/internal/evaltest"
	"lenskit/onnx/internal/onnxtest"
)

func TestDecodersMatchPyTorch(t *testing.T) {
	for _, name := range onnxtest.DecoderNames {
		for _, exporter := range []string{"dynamo", "legacy"} {
			t.Run(name+"/"+exporter, func(t *testing.T) {
				ref := evaltest.Npz(t, check.Shared(t, "decoders/"+name+".npz"))
				g, err := onnx.Load(check.Shared(t, "decoders/"+name+"."+exporter+".onnx"))
				if err != nil {
					t.Fatal(err)
				}
				in, out := g.Inputs[0].Name, g.Outputs[0].Name
				feed := map[string]*eval.Array{in: ref["z"], "grad_" + out: ref["gx"], "tangent_" + in: ref["tz"]}
				near := func(what string, got, want *eval.Array) {
					t.Helper()
					if d := evaltest.ApartBy(t, got, want); !(d < 1e-6) {
						t.Errorf("%s differs by %.3g of its largest", what, d)
					}
				}
				vjp, err := VJP(g, Options{})
				if err != nil {
					t.Fatal(err)
				}
				res := evaltest.RunGraph(t, vjp, feed)
				near("output", res[out], ref["x64"])
				near("vjp", res["grad_"+in], ref["gz64"])
				jvp, err := JVP(g, Options{})
				if err != nil {
					t.Fatal(err)
				}
				near("jvp", evaltest.RunGraph(t, jvp, feed)["tangent_"+out], ref["jvp64"])
				pair, err := Split(g, Options{})
				if err != nil {
					t.Fatal(err)
				}
				mid := evaltest.RunGraph(t, pair.Forward, feed)
				for _, s := range pair.Saved {
					if mid[s] != nil {
						feed[s] = mid[s]
					}
				}
				near("split vjp", evaltest.RunGraph(t, pair.Backward, feed)["grad_"+in], ref["gz64"])
				if errs := Unsupported(g, Options{}); len(errs) != 0 {
					t.Errorf("unsupported: %v", errs)
				}
			})
		}
	}
}

// The decoder is the small one of models, so that this needs no other data, and the Makefile runs it without cgo. Its
// activations bend at zero: the steps of the differences are short, so that they cross no bend.
func TestVJPOfADecoderMatchesDifferences(t *testing.T) {
	g, err := onnx.Load(filepath.Join(check.Root(), "models", "compact", "decoder.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	vjp, err := VJP(g, Options{Exact: true})
	if err != nil {
		t.Fatal(err)
	}
	in, out := g.Inputs[0].Name, g.Outputs[0].Name
	latents := g.Inputs[0].Shape[1].N
	image := func(z []float64) *eval.Array {
		return evaltest.RunGraph(t, g, map[string]*eval.Array{in: eval.FloatArray(z, 1, latents)})[out]
	}
	rng := rand.New(rand.NewPCG(3, 4))
	z := check.Normals(rng, int(latents))
	at := image(z)
	cotangent := check.Normals(rng, at.Len())
	res := evaltest.RunGraph(t, vjp, map[string]*eval.Array{in: eval.FloatArray(z, 1, latents), "grad_" + out: eval.FloatArray(cotangent, at.Shape...)})
	if d := evaltest.ApartBy(t, res[out], at); !(d < 1e-12) {
		t.Errorf("output differs by %.3g of its largest", d)
	}
	for k := range 4 {
		v := check.Normals(rng, len(z))
		want := check.Directional(func(z []float64) float64 { return check.Dot(cotangent, image(z).F) }, z, v, 1e-6)
		check.Close(t, fmt.Sprintf("derivative along direction %d", k), check.Dot(res["grad_"+in].F, v), want, 1e-7, 0)
	}
}

func TestJacobianRowsAreJVPs(t *testing.T) {
	for _, name := range onnxtest.DecoderNames {
		for _, columns := range []int{0, 3} {
			for _, fixed := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%d/%v", name, columns, fixed), func(t *testing.T) {
					if testing.Short() && (columns == 0 || name != "res_att" && name != "stylemod") {
						t.Skip("one size is enough in a short run")
					}
					g, err := onnx.Load(check.Shared(t, "decoders/"+name+".dynamo.onnx"))
					if err != nil {
						t.Fatal(err)
					}
					in, out := g.Inputs[0].Name, g.Outputs[0].Name
					latents := g.Inputs[0].Shape[1].N
					if fixed {
						if g, err = BindInput(g, in, []int64{1, latents}); err != nil {
							t.Fatal(err)
						}
					}
					jac, err := Jacobian(g, Options{Columns: columns})
					if err != nil {
						t.Fatal(err)
					}
					jvp, err := JVP(g, Options{})
					if err != nil {
						t.Fatal(err)
					}
					rng := rand.New(rand.NewPCG(5, 6))
					z := eval.FloatArray(check.Normals(rng, int(latents)), 1, latents)
					k := 3
					tz := eval.FloatArray(check.Normals(rng, k*int(latents)), int64(k), latents)
					res := evaltest.RunGraph(t, jac, map[string]*eval.Array{in: z, "tangent_" + in: tz})
					all := res["tangent_"+out]
					if all.Shape[0] != int64(k) || res[out].Shape[0] != 1 {
						t.Fatalf("found shapes %v and %v", all.Shape, res[out].Shape)
					}
					per := all.Len() / k
					for row := range k {
						row0 := eval.FloatArray(tz.F[row*int(latents):(row+1)*int(latents)], 1, latents)
						one := evaltest.RunGraph(t, jvp, map[string]*eval.Array{in: z, "tangent_" + in: row0})["tangent_"+out]
						if d := evaltest.ApartBy(t, eval.FloatArray(all.F[row*per:(row+1)*per], one.Shape...), one); !(d < 1e-9) {
							t.Errorf("row %d differs by %.3g of its largest", row, d)
						}
					}
				})
			}
		}
	}
}

// The standard's checker, in Python, looks at every derived file.
func TestDerivedFilesPassTheCheckerOfOnnx(t *testing.T) {
	python := onnxtest.PythonWithONNX(t)
	dir := t.TempDir()
	save := func(name string, g *onnx.Graph, err error) {
		t.Helper()
		if err == nil {
			err = g.Save(filepath.Join(dir, name+".onnx"))
		}
		if err != nil {
			t.Fatal(name, err)
		}
	}
	derive := func(name string, g *onnx.Graph, opt Options) {
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
	for _, name := range onnxtest.DecoderNames {
		for _, exporter := range []string{"dynamo", "legacy"} {
			g, err := onnx.Load(check.Shared(t, "decoders/"+name+"."+exporter+".onnx"))
			if err != nil {
				t.Fatal(err)
			}
			derive(name+"."+exporter, g, Options{})
			d, err := Jacobian(g, Options{})
			save(name+"."+exporter+".jacobian", d, err)
		}
	}
	for k, c := range ruleCases() {
		g, wrt := c.graph(!c.fixed && c.op != "Squeeze")
		if err := g.Infer(); err != nil {
			t.Fatal(err)
		}
		derive(fmt.Sprint(c.op, k), g, Options{Wrt: wrt})
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
