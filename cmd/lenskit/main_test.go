package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/urfave/cli/v2"

	"lenskit/onnx"
	"lenskit/onnx/ort"
	"lenskit/tools"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"lenskit": main})
}

// TestScripts runs the scripts of testdata/script. Beside testscript's own commands they have
//
//	exits CODE COMMAND ARGS...    runs a command that must end with that code; a failure must be told in one line
//	image FILE W H VALUE [KEY=X]  writes a FITS image of float32: nan=N sets N pixels to NaN, cut=N cuts the file short by
//	                              N bytes, claim=N writes NAXIS1 = N over data of width W, scale=S writes CDELT of S arcsec
//	decoder FILE KIND             writes an ONNX decoder: good, or with the fault that KIND names
//	within FILE KEY LO HI         checks a number of a JSON file; KEY may be dotted, and "stdout" is a file
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			for _, key := range []string{"LENSKIT_ONNXRUNTIME", "HOME"} {
				if v := os.Getenv(key); v != "" {
					env.Setenv(key, v)
				}
			}
			if _, _, err := ort.Library(); err == nil {
				env.Setenv("HAVE_ONNXRUNTIME", "1")
			}
			if os.Getenv("LENSKIT_ONNXRUNTIME") == "" {
				if path, _, err := ort.Library(); err == nil {
					env.Setenv("LENSKIT_ONNXRUNTIME", path)
				}
			}
			return nil
		},
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "gpu":
				_, err := os.Stat("/dev/nvidiactl")
				return err == nil, nil
			case "onnxruntime":
				_, _, err := ort.Library()
				return err == nil, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits": exits, "image": writeImage, "decoder": writeDecoder, "within": within,
		},
	})
}

// packageName is the beginning of an error that names a package of lenskit.
var packageName = regexp.MustCompile(`(^|\s)(adjoint|physics|samplers|onnx|onnx: load): `)

func exits(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var e *exec.ExitError
		if !errors.As(err, &e) {
			ts.Fatalf("%v", err)
		}
		got = e.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
	if want == 0 {
		return
	}
	text := strings.TrimSuffix(ts.ReadFile("stderr"), "\n")
	if name := packageName.FindString(text); name != "" {
		ts.Fatalf("stderr names the package %q:\n%s", name, text)
	}
	for i, line := range strings.Split(text, "\n") {
		if !(i == 0 && strings.HasPrefix(line, "lenskit: ")) && !(i == 1 && strings.HasPrefix(line, "hint: ")) {
			ts.Fatalf("stderr is not one line and at most one hint:\n%s", text)
		}
	}
}

func writeImage(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 4 {
		ts.Fatalf("usage: image FILE W H VALUE [KEY=X]...")
	}
	number := func(s string) float64 {
		v, err := strconv.ParseFloat(s, 64)
		ts.Check(err)
		return v
	}
	w, h, value := int(number(args[1])), int(number(args[2])), number(args[3])
	nan, cut, scale, claim := 0, 0, 0.0, args[1]
	for _, a := range args[4:] {
		k, v, _ := strings.Cut(a, "=")
		switch k {
		case "nan":
			nan = int(number(v))
		case "claim":
			claim = v
		case "cut":
			cut = int(number(v))
		case "scale":
			scale = number(v)
		default:
			ts.Fatalf("image: unknown key %q", k)
		}
	}
	cards := []string{"SIMPLE  =                    T", "BITPIX  =                  -32", "NAXIS   =                    2",
		fmt.Sprintf("NAXIS1  = %20s", claim), fmt.Sprintf("NAXIS2  = %20d", h)}
	if scale > 0 {
		cards = append(cards, "CUNIT1  = 'arcsec  '", "CUNIT2  = 'arcsec  '", fmt.Sprintf("CDELT1  = %20g", scale), fmt.Sprintf("CDELT2  = %20g", scale))
	}
	var b []byte
	for _, c := range append(cards, "END") {
		b = append(b, fmt.Sprintf("%-80s", c)...)
	}
	pad := func(fill byte) {
		for len(b)%2880 > 0 {
			b = append(b, fill)
		}
	}
	pad(' ')
	for i := range w * h {
		v := value
		if i < nan {
			v = math.NaN()
		}
		b = binary.BigEndian.AppendUint32(b, math.Float32bits(float32(v)))
	}
	pad(0)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b[:len(b)-cut], 0o644))
}

func writeDecoder(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: decoder FILE KIND")
	}
	const latents, pixels = 3, 64
	weights := make([]float32, latents*pixels)
	for i := range weights {
		x, y := float64(i%8)-3.5, float64(i/8%8)-3.5
		weights[i] = float32(math.Exp(-(x*x+y*y)/8) * (1 + 0.3*float64(i/pixels)*x))
	}
	n := onnx.Dim{N: 1, Sym: "N"}
	dim := func(v int64) onnx.Dim { return onnx.Dim{N: v} }
	g := &onnx.Graph{
		Name: "decoder", Opset: map[string]int{"": 18},
		Inputs:  []onnx.Value{{Name: "z", Type: onnx.Float32, Shape: []onnx.Dim{n, dim(latents)}}},
		Outputs: []onnx.Value{{Name: "x", Type: onnx.Float32, Shape: []onnx.Dim{n, dim(pixels)}}},
		Nodes:   []*onnx.Node{{Op: "MatMul", Name: "mul", In: []string{"z", "w"}, Out: []string{"x"}}},
		Init:    map[string]*onnx.Tensor{"w": onnx.FloatTensor(weights, latents, pixels)},
	}
	switch args[1] {
	case "good", "corrupt":
	case "inputs":
		g.Inputs = append(g.Inputs, onnx.Value{Name: "b", Type: onnx.Float32, Shape: []onnx.Dim{n, dim(pixels)}})
		g.Nodes[0].Out[0] = "m"
		g.Nodes = append(g.Nodes, &onnx.Node{Op: "Add", In: []string{"m", "b"}, Out: []string{"x"}})
	case "outputs":
		g.Outputs = append(g.Outputs, onnx.Value{Name: "y", Type: onnx.Float32, Shape: []onnx.Dim{n, dim(pixels)}})
		g.Nodes = append(g.Nodes, &onnx.Node{Op: "Relu", In: []string{"x"}, Out: []string{"y"}})
	case "anysize":
		g.Inputs[0].Shape[1] = onnx.Dim{N: 1, Sym: "L"}
		g.Outputs[0].Shape[1] = onnx.Dim{N: 1, Sym: "L"}
		g.Nodes = []*onnx.Node{{Op: "Relu", In: []string{"z"}, Out: []string{"x"}}}
	case "random":
		g.Nodes[0].Out[0] = "m"
		g.Nodes = append(g.Nodes, &onnx.Node{Op: "RandomNormalLike", Name: "noise", In: []string{"m"}, Out: []string{"r"}},
			&onnx.Node{Op: "Add", In: []string{"m", "r"}, Out: []string{"x"}})
	case "zero", "steps", "still":
		// images that do not follow their latents: a factor of zero, steps, and one that is no function of them
		g.Nodes[0].Out[0] = "m"
		g.Init["c"] = onnx.FloatTensor(weights[:pixels], 1, pixels)
		g.Init["none"] = onnx.FloatTensor([]float32{0}, 1)
		middle := []*onnx.Node{{Op: "Mul", In: []string{"m", "none"}, Out: []string{"n"}}}
		switch args[1] {
		case "steps":
			middle = []*onnx.Node{{Op: "Floor", In: []string{"m"}, Out: []string{"n"}}}
		case "still":
			middle = []*onnx.Node{{Op: "Shape", In: []string{"m"}, Out: []string{"d"}},
				{Op: "ConstantOfShape", In: []string{"d"}, Out: []string{"n"}}}
		}
		g.Nodes = append(append(g.Nodes, middle...), &onnx.Node{Op: "Add", In: []string{"n", "c"}, Out: []string{"x"}})
	case "input":
		g.Inputs[0].Shape = []onnx.Dim{n, dim(1), dim(latents)}
		g.Outputs[0].Shape = []onnx.Dim{n, dim(1), dim(pixels)}
	case "output":
		g.Init["w"] = onnx.FloatTensor(weights[:latents*60], latents, 60)
		g.Outputs[0].Shape[1] = dim(60)
	case "norule":
		g.Nodes[0].Out[0] = "m"
		g.Nodes = append(g.Nodes, &onnx.Node{Op: "Mystery", Name: "odd one", In: []string{"m"}, Out: []string{"x"}})
	default:
		ts.Fatalf("decoder: unknown kind %q", args[1])
	}
	path := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(filepath.Dir(path), 0o755))
	ts.Check(g.Save(path))
	if args[1] == "corrupt" {
		b, err := os.ReadFile(path)
		ts.Check(err)
		ts.Check(os.WriteFile(path, b[:len(b)/2], 0o644))
	}
}

func within(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 4 {
		ts.Fatalf("usage: within FILE KEY LO HI")
	}
	var v any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &v))
	// a key of an object may itself have dots: the longest prefix that is a key is taken
	for rest := args[1]; rest != ""; {
		m, ok := v.(map[string]any)
		if !ok {
			ts.Fatalf("%s: %s: not an object", args[0], rest)
		}
		key := rest
		for {
			if next, ok := m[key]; ok {
				v, rest = next, strings.TrimPrefix(strings.TrimPrefix(rest, key), ".")
				break
			}
			i := strings.LastIndexByte(key, '.')
			if i < 0 {
				ts.Fatalf("%s: has no %s", args[0], rest)
			}
			key = key[:i]
		}
	}
	lo, err := strconv.ParseFloat(args[2], 64)
	ts.Check(err)
	hi, err := strconv.ParseFloat(args[3], 64)
	ts.Check(err)
	if x, ok := v.(float64); !ok || !(x >= lo && x <= hi) {
		ts.Fatalf("%s: %s is %v, want %g to %g", args[0], args[1], v, lo, hi)
	}
}

// TestEveryCommandHasHelpWithAnExample checks that every command tells how it is called, and an example.
func TestEveryCommandHasHelpWithAnExample(t *testing.T) {
	var check func(path string, list []*cli.Command)
	check = func(path string, list []*cli.Command) {
		for _, c := range list {
			name := path + " " + c.Name
			if c.Usage == "" {
				t.Errorf("%s: has no line for the list of commands", name)
			}
			if len(c.Subcommands) > 0 {
				check(name, c.Subcommands)
				continue
			}
			var out, errs strings.Builder
			if code := tools.Run(context.Background(), append(strings.Fields(name), "--help"), &out, &errs); code != 0 {
				t.Errorf("%s --help: exit code %d: %s", name, code, errs.String())
			}
			for _, want := range []string{"USAGE:", "Example", name} {
				if !strings.Contains(out.String(), want) {
					t.Errorf("%s --help: has no %q", name, want)
				}
			}
		}
	}
	commands := tools.App(io.Discard, io.Discard).Commands
	if len(commands) < 5 {
		t.Errorf("found %d commands", len(commands))
	}
	check("lenskit", commands)
}

// rooms are the packages below tools, each with those that it may import: the ones before it.
var rooms = []string{
	"internal/term", "internal/termtest", "internal/rundir", "internal/fits", "internal/tensors", "internal/adam", "lensing", "internal/figure",
	"config", "observation", "internal/testkit", "problem", "mock", "search", "run", "sample", "galaxies", "vae", "survey", "coolest",
}

// TestImportArrows holds the packages to what they may import: cmd -> tools -> its rooms, each only those before it -> the
// libraries, adjoint -> onnx and physics, physics -> its linalg, and nothing among onnx, physics and samplers; and to the modules
// that each may use.
// internal/check is for tests alone, internal/disk, internal/stats and internal/task for all.
func TestImportArrows(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "lenskit/...").Output()
	if err != nil {
		t.Skipf("go list does not work here: %v", err)
	}
	onnx := []string{"lenskit/onnx/symbolic", "lenskit/onnx", "lenskit/onnx/checker", "lenskit/onnx/footprint", "lenskit/onnx/eval", "lenskit/onnx/rewrite", "lenskit/onnx/diff", "lenskit/onnx/ort"}
	const linalg = "lenskit/physics/linalg"
	libraries := append([]string{"lenskit/adjoint", "lenskit/samplers", "lenskit/physics", linalg, "lenskit/models"}, onnx...)
	may := map[string][]string{
		"lenskit/cmd/lenskit": {"lenskit/tools"}, "lenskit/adjoint": append([]string{"lenskit/physics", linalg}, onnx...),
		"lenskit/physics": {linalg}, linalg: {"lenskit/physics/internal/kern"},
	}
	for i, pkg := range onnx {
		may[pkg] = append([]string{"lenskit/onnx/internal/onnxpb"}, onnx[:i]...)
	}
	for name, n := range map[string]int{"onnxtest": 0, "graphtest": 3, "evaltest": 5} {
		may["lenskit/onnx/internal/"+name] = append([]string{"lenskit/internal/check"}, onnx[:n]...)
	}
	before := libraries
	for _, r := range rooms {
		path := "lenskit/tools/" + r
		may[path] = before
		if strings.HasSuffix(r, "test") || strings.HasSuffix(r, "testkit") {
			may[path] = append(slices.Clone(before), "lenskit/internal/check", "lenskit/tools/internal/termtest")
			continue
		}
		before = append(slices.Clone(before), path)
	}
	may["lenskit/tools"] = before
	// what the libraries may take from elsewhere; tools may take anything but these two, of which onnx/ort alone has the first, and
	// its rooms anything but the command line
	const runtime, gpu, commandLine = "github.com/yalue/onnxruntime_go", "gorgonia.org/cu", "github.com/urfave/cli"
	modules := map[string][]string{
		"lenskit/cmd": {commandLine}, "lenskit/models": {}, "lenskit/internal": {},
		"lenskit/adjoint": {"gonum.org/v1/gonum", gpu}, "lenskit/samplers": {"gonum.org/v1/gonum"},
		"lenskit/onnx": {"gonum.org/v1/gonum", "google.golang.org/protobuf"}, "lenskit/physics": {"gonum.org/v1/gonum", "golang.org/x/sys", gpu},
	}
	for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		fields := strings.Fields(line)
		pkg, imports := fields[0], fields[1:]
		for _, im := range imports {
			if strings.HasPrefix(im, "lenskit/") {
				inside := strings.HasPrefix(im, pkg+"/internal/") || strings.Contains(pkg, "/internal/") && strings.HasPrefix(im, strings.Split(pkg, "/internal/")[0])
				inside = inside && !strings.HasPrefix(im, "lenskit/tools/")
				allowed := inside || im == "lenskit/internal/disk" || im == "lenskit/internal/stats" || im == "lenskit/internal/task"
				for _, ok := range may[pkg] {
					allowed = allowed || im == ok
				}
				if !allowed {
					t.Errorf("%s imports %s", pkg, im)
				}
			}
			if first, _, _ := strings.Cut(im, "/"); !strings.Contains(first, ".") {
				continue
			}
			part := strings.Join(strings.Split(pkg, "/")[:2], "/")
			list, bound := modules[part]
			allowed := !bound && im != runtime && !strings.HasPrefix(im, gpu) && (pkg == "lenskit/tools" || !strings.HasPrefix(im, commandLine)) || pkg == "lenskit/onnx/ort" && im == runtime
			for _, m := range list {
				allowed = allowed || strings.HasPrefix(im+"/", m+"/")
			}
			if !allowed {
				t.Errorf("%s imports %s", pkg, im)
			}
		}
	}
}
