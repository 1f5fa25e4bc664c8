package tools

import (
	"cmp"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"lenskit/onnx"
	"lenskit/onnx/ort"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/cpu"
)

func doctorCommand() *cli.Command {
	return &cli.Command{
		Name:  "doctor",
		Usage: "tell what was found on this machine: onnxruntime, providers, CPU, GPU; and what to do about what was not",
		Description: "Exits with 0 when onnxruntime can be used and with 2 when it cannot.\n" +
			"Example: lenskit doctor --json",
		Action: func(c *cli.Context) error {
			if _, err := arguments(c); err != nil {
				return err
			}
			d := diagnose(c.Context)
			var err error
			if c.Bool("json") {
				err = rundir.EncodeJSON(c.App.Writer, d)
			} else {
				err = d.print(c.App.Writer)
			}
			if err != nil {
				return err
			}
			if !d.ONNXRuntime.Usable {
				return term.BadInput("doctor: %s", d.ONNXRuntime.Error)
			}
			return nil
		},
	}
}

// diagnosis is what doctor tells.
type diagnosis struct {
	Lenskit     string         `json:"lenskit"`
	Go          string         `json:"go"`
	ONNXRuntime runtimeFinding `json:"onnxruntime"`
	CPU         cpuFinding     `json:"cpu"`
	GPU         gpuFinding     `json:"gpu"`
	Advice      []string       `json:"advice"`
}

type runtimeFinding struct {
	Usable    bool     `json:"usable"` // a small graph ran on the CPU
	Path      string   `json:"path,omitempty"`
	Version   string   `json:"version,omitempty"`
	Providers []string `json:"providers"`
	Error     string   `json:"error,omitempty"`
}

type cpuFinding struct {
	System   string   `json:"system"`
	Cores    int      `json:"cores"`
	Threads  int      `json:"threads"` // that lenskit uses by default
	Features []string `json:"features"`
}

type gpuFinding struct {
	Devices []gpuDevice `json:"devices"`
	Usable  bool        `json:"usable"` // a small graph ran on cuda:0
	Error   string      `json:"error,omitempty"`
}

type gpuDevice struct {
	Index     int    `json:"index"`
	Name      string `json:"name"`
	MemoryMiB int    `json:"memory_mib"`
	Driver    string `json:"driver"`
}

// diagnose looks at the machine.
func diagnose(ctx context.Context) diagnosis {
	d := diagnosis{
		Lenskit: term.Version(),
		Go:      runtime.Version(),
		CPU: cpuFinding{
			System:   runtime.GOOS + "/" + runtime.GOARCH,
			Cores:    runtime.NumCPU(),
			Threads:  runtime.GOMAXPROCS(0),
			Features: cpuFeatures(),
		},
		Advice: []string{},
	}
	d.ONNXRuntime.Providers = []string{}
	path, release, err := ort.Library()
	if err == nil {
		d.ONNXRuntime.Path, d.ONNXRuntime.Version = path, release
		if d.ONNXRuntime.Providers, err = ort.Providers(); err == nil {
			err = tryDevice("cpu")
		}
	}
	if err != nil {
		d.ONNXRuntime.Error = term.Plain(err.Error())
		d.Advice = append(d.Advice, "onnxruntime: run `make onnxruntime` in the repository, or install release 1.24 or later (pip install onnxruntime, brew install onnxruntime) and set LENSKIT_ONNXRUNTIME to its shared library; until then `--device reference` computes in Go, slowly")
	}
	d.ONNXRuntime.Usable = err == nil

	d.GPU.Devices, err = gpuDevices(ctx)
	built := slices.Contains(d.ONNXRuntime.Providers, "CUDAExecutionProvider")
	switch {
	case len(d.GPU.Devices) == 0 && err == nil:
		d.GPU.Error = "no NVIDIA GPU was found"
	case err != nil:
		d.GPU.Error = err.Error()
		d.Advice = append(d.Advice, "GPU: install the NVIDIA driver, with nvidia-smi, that fits the running kernel")
	case !built:
		d.GPU.Error = "onnxruntime was built without CUDA"
		d.Advice = append(d.Advice, "GPU: set LENSKIT_ONNXRUNTIME to libonnxruntime.so of a GPU build (pip install onnxruntime-gpu, in its folder onnxruntime/capi), and have CUDA and cuDNN on the loader's path; then use --device cuda")
	}
	if built {
		if err := tryDevice("cuda"); err != nil {
			d.GPU.Error = err.Error()
			if len(d.GPU.Devices) > 0 {
				d.Advice = append(d.Advice, "GPU: the CUDA provider did not start; the message names the missing library: put the folder of CUDA 12 and cuDNN 9 into LD_LIBRARY_PATH")
			}
		} else {
			d.GPU.Usable, d.GPU.Error = true, ""
		}
	}
	return d
}

// tryDevice runs a sum of two numbers on device.
func tryDevice(device string) error {
	shape := []onnx.Dim{{N: 1}}
	s, err := ort.Open(&onnx.Graph{
		Name:    "doctor",
		Opset:   map[string]int{"": 18},
		Inputs:  []onnx.Value{{Name: "x", Type: onnx.Float32, Shape: shape}},
		Outputs: []onnx.Value{{Name: "y", Type: onnx.Float32, Shape: shape}},
		Nodes:   []*onnx.Node{{Op: "Add", Name: "sum", In: []string{"x", "x"}, Out: []string{"y"}}},
	}, ort.Options{Device: device, Threads: 1})
	if err != nil {
		return err
	}
	defer s.Close()
	s.Input("x")[0] = 21
	if err := s.Run(); err != nil {
		return err
	}
	if y := s.Output("y")[0]; y != 42 {
		return fmt.Errorf("onnxruntime on %s computes 21 + 21 = %g", device, y)
	}
	return nil
}

// cpuFeatures lists the instruction sets that matter for speed.
func cpuFeatures() []string {
	has := []struct {
		name string
		ok   bool
	}{
		{"sse4.2", cpu.X86.HasSSE42}, {"avx", cpu.X86.HasAVX}, {"avx2", cpu.X86.HasAVX2}, {"fma", cpu.X86.HasFMA},
		{"avx512f", cpu.X86.HasAVX512F}, {"avx512vnni", cpu.X86.HasAVX512VNNI}, {"amx", cpu.X86.HasAMXTile},
		{"asimd", cpu.ARM64.HasASIMD}, {"asimddp", cpu.ARM64.HasASIMDDP}, {"sve", cpu.ARM64.HasSVE}, {"sve2", cpu.ARM64.HasSVE2},
	}
	list := []string{}
	for _, f := range has {
		if f.ok {
			list = append(list, f.name)
		}
	}
	return list
}

// gpuDevices asks nvidia-smi for the GPUs. Devices that the kernel shows but nvidia-smi does not tell about are an error.
func gpuDevices(ctx context.Context) ([]gpuDevice, error) {
	nodes, err := filepath.Glob("/dev/nvidia[0-9]*")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "nvidia-smi", "--query-gpu=index,name,memory.total,driver_version", "--format=csv,noheader,nounits").Output()
	if err != nil {
		if len(nodes) == 0 && (errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist)) {
			return []gpuDevice{}, nil
		}
		return []gpuDevice{}, fmt.Errorf("nvidia-smi: %s (%d device nodes in /dev)", term.OneLine(term.Reason(err)+" "+string(out)), len(nodes))
	}
	return parseGPUs(string(out))
}

// parseGPUs reads the lines "index, name, MiB, driver" of nvidia-smi.
func parseGPUs(text string) ([]gpuDevice, error) {
	r := csv.NewReader(strings.NewReader(text))
	r.TrimLeadingSpace = true
	r.FieldsPerRecord = 4
	rows, err := r.ReadAll()
	if err != nil {
		return []gpuDevice{}, fmt.Errorf("nvidia-smi: found %q, expected index, name, memory and driver", term.OneLine(text))
	}
	list := []gpuDevice{}
	for _, row := range rows {
		index, err := strconv.Atoi(row[0])
		if err != nil {
			return []gpuDevice{}, fmt.Errorf("nvidia-smi: found index %q, expected a number", row[0])
		}
		memory, _ := strconv.Atoi(row[2]) // some devices share the machine's memory and say "[N/A]"
		list = append(list, gpuDevice{index, row[1], memory, row[3]})
	}
	return list, nil
}

// print writes the diagnosis for people.
func (d diagnosis) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintf(t, "lenskit\t%s, %s\n", d.Lenskit, d.Go)
	if d.ONNXRuntime.Usable {
		fmt.Fprintf(t, "onnxruntime\t%s, %s\n", d.ONNXRuntime.Version, d.ONNXRuntime.Path)
	} else {
		fmt.Fprintf(t, "onnxruntime\tnot usable: %s\n", d.ONNXRuntime.Error)
	}
	fmt.Fprintf(t, "providers\t%s\n", cmp.Or(strings.Join(d.ONNXRuntime.Providers, ", "), "none"))
	fmt.Fprintf(t, "CPU\t%s, %d cores, %d threads used, %s\n", d.CPU.System, d.CPU.Cores, d.CPU.Threads, cmp.Or(strings.Join(d.CPU.Features, " "), "no vector instructions known"))
	for _, g := range d.GPU.Devices {
		fmt.Fprintf(t, "GPU %d\t%s, %d MiB, driver %s\n", g.Index, g.Name, g.MemoryMiB, g.Driver)
	}
	switch {
	case d.GPU.Usable:
		fmt.Fprintf(t, "CUDA\tusable\n")
	default:
		fmt.Fprintf(t, "CUDA\tnot usable: %s\n", d.GPU.Error)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, a := range d.Advice {
		if _, err := fmt.Fprintf(w, "advice: %s\n", a); err != nil {
			return err
		}
	}
	return nil
}
