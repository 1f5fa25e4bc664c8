//go:build unix

// Package kills stops lenskit at random moments, lets it go on, and holds its results against those of a run that nobody
// stopped: they must be the same to the bit, but for what tells the time.
package kills

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"syscall"
	"time"

	"lenskit/internal/proc"
)

// Work is a command that can be stopped and gone on with.
type Work struct {
	Name  string
	Line  string   // the command, run in a folder with the sound files
	Saved []string // one of these is there after an exit code of 75
	Slow  bool     // takes more than three seconds
}

// Signals are what stops a run, SIGKILL more often than others: nothing can be done about it.
var Signals = []syscall.Signal{syscall.SIGKILL, syscall.SIGKILL, syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR1}

// Works are the commands that are stopped. Each takes some seconds of the processor.
var Works = []Work{
	{"fit-lm", "fit m.yaml -o o --starts 500 --quiet", []string{"o/checkpoint"}, false},
	{"fit-adam", "fit m.yaml -o o --optimizer adam --iterations 6000 --quiet", []string{"o/checkpoint"}, false},
	{"fit-light", "fit l.yaml -o o --starts 2 --quiet", []string{"o/checkpoint"}, true},
	{"sample-hmc", "sample f -o o --chains 2 --draws 600 --warmup 30 --quiet", []string{"o/checkpoint"}, false},
	{"sample-batch", "sample f -o o --chains 4 --draws 400 --warmup 30 --quiet", []string{"o/checkpoint"}, false},
	{"sample-nuts", "sample f -o o --sampler nuts --chains 2 --draws 150 --warmup 40 --quiet", []string{"o/checkpoint"}, false},
	{"sample-beside", "sample f --chains 2 --draws 600 --warmup 20 --quiet", []string{"f/checkpoint"}, false},
	{"train-vae", "train-vae g64.fits -o o --channels 4,8,8,8 --hidden 16 --latents 4 --samples 1 --rate 1e-3 --batch 8 --epochs 30 --save-every 150ms --quiet", []string{"o/checkpoint.safetensors"}, false},
	{"survey", "survey run s --index 1-2 --quiet", []string{"s/m/checkpoint", "s/n/checkpoint", "s/m/fit.json", "s/n/fit.json"}, false},
}

const config = `data: {size: [24, 24], noise: 0.05, psf: {gaussian: 0.1}, pixel_scale: 0.15}
lens:
  - type: sie
    priors:
      theta_E: {normal: [0.9, 0.1], bounds: [0.5, 1.5], truth: 0.9}
source:
  - {type: decoder, model: b, interpolation: bicubic}
`

// light has lens light, for the stages that a lens galaxy asks for.
const light = `data: {size: [20, 20], noise: 0.05, pixel_scale: 0.18}
lens:
  - type: sie
    priors:
      theta_E: {normal: [0.9, 0.1], bounds: [0.5, 1.5], truth: 0.9}
source:
  - {type: gaussian, priors: {amp: {truth: 1}, sigma: {truth: 0.2}}}
lens_light:
  - {type: gaussian, priors: {amp: {truth: 1}, sigma: {truth: 0.3}}}
`

// Setup makes the files that the commands need in the folder dir.
func Setup(binary, dir string) error {
	for name, text := range map[string]string{"base.yaml": config, "light.yaml": light, "lenses.csv": "config\nm.yaml\nn.yaml\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	for _, line := range []string{
		"dataset synth -o g.fits --count 60 --size 16 --quiet", "dataset synth -o g64.fits --count 48 --quiet", "dataset bundle g.fits -o b --latents 4 --quiet",
		"mock base.yaml -o m.fits --quiet", "mock light.yaml -o l.fits --quiet", "mock base.yaml -o n.fits --seed 5 --quiet", "fit m.yaml -o f --starts 2 --quiet", "survey plan lenses.csv -o s --starts 200 --quiet",
	} {
		r, err := proc.Run(proc.Command{Path: binary, Args: strings.Fields(line), Dir: dir, Wall: 5 * time.Minute})
		if err != nil {
			return err
		}
		if r.Code != 0 {
			return fmt.Errorf("lenskit %s: exit code %d: %s", line, r.Code, r.Stderr)
		}
	}
	return nil
}

// Bench holds what the stops are judged by: the sound files and the results of runs that nobody stopped.
type Bench struct {
	binary, sound, scratch string
	whole                  map[string]reference
}

// reference are the files of a whole run, what it took and how it ended.
type reference struct {
	files map[string][]byte
	code  int
	took  time.Duration
}

// NewBench makes the sound files under scratch.
func NewBench(binary, scratch string) (*Bench, error) {
	b := &Bench{binary, filepath.Join(scratch, "sound"), scratch, map[string]reference{}}
	if err := os.MkdirAll(b.sound, 0o755); err != nil {
		return nil, err
	}
	return b, Setup(binary, b.sound)
}

// fresh is a new folder with the sound files.
func (b *Bench) fresh(name string) (string, error) {
	// the name is the same each time, as it may stand in what a run writes
	dir := filepath.Join(b.scratch, name)
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	return dir, os.CopyFS(dir, os.DirFS(b.sound))
}

func (b *Bench) run(w Work, dir string, signal syscall.Signal, after time.Duration) (*proc.Result, error) {
	return proc.Run(proc.Command{Path: b.binary, Args: strings.Fields(w.Line), Dir: dir, Wall: time.Duration(float64(time.Minute) * proc.Slack()), Signal: signal, After: after})
}

// Whole runs w without a stop, once.
func (b *Bench) Whole(w Work) (reference, error) {
	if r, ok := b.whole[w.Name]; ok {
		return r, nil
	}
	dir, err := b.fresh("work")
	if err != nil {
		return reference{}, err
	}
	r, err := b.run(w, dir, 0, 0)
	if err != nil {
		return reference{}, err
	}
	if r.Code != 0 && r.Code != 3 {
		return reference{}, fmt.Errorf("lenskit %s: exit code %d %s: %s", w.Line, r.Code, r.Killed, r.Stderr)
	}
	files, err := results(dir)
	ref := reference{files, r.Code, r.Wall}
	b.whole[w.Name] = ref
	return ref, err
}

// Trial is what came of one run with its stops.
type Trial struct {
	Work   string
	Seed   uint64
	Stops  []string // signal and moment of each
	Runs   int
	Faults []string
}

// Kills is the number of stops that met the command before it had ended.
func (t *Trial) Kills() int { return len(t.Stops) }

// Stop runs w with stops at moments that the seed decides, one to three in a row, each by one of the signals, and lets it end.
func (b *Bench) Stop(w Work, seed uint64, signals []syscall.Signal) (*Trial, error) {
	whole, err := b.Whole(w)
	if err != nil {
		return nil, err
	}
	rng := rand.New(rand.NewPCG(seed, 77))
	t := &Trial{Work: w.Name, Seed: seed}
	fault := func(format string, a ...any) { t.Faults = append(t.Faults, fmt.Sprintf(format, a...)) }
	dir, err := b.fresh("work")
	if err != nil {
		return nil, err
	}
	wanted := 1
	if rng.IntN(3) == 0 {
		wanted = 2 + rng.IntN(2)
	}
	ended := false
	for range wanted {
		signal := signals[rng.IntN(len(signals))]
		// most of the time anywhere, at times near the end, when the results are written
		share := rng.Float64() * 1.02
		if rng.IntN(3) == 0 {
			share = 0.85 + 0.2*rng.Float64()
		}
		after := time.Duration(share * float64(whole.took))
		r, err := b.run(w, dir, signal, after)
		if err != nil {
			return nil, err
		}
		t.Runs++
		if r.Obeyed == 0 && r.Signal == 0 {
			// it was over before; the command is given once more all the same
			ended = r.Code == whole.code
			break
		}
		t.Stops = append(t.Stops, fmt.Sprintf("%s at %.2f s", name(signal), after.Seconds()))
		if limit := time.Duration(float64(2*time.Second) * proc.Slack()); r.Obeyed > limit {
			fault("%s was obeyed after %.1f s", name(signal), r.Obeyed.Seconds())
		}
		switch {
		case r.Killed != "":
			fault("%s", r.Killed)
		case signal == syscall.SIGKILL || r.Signal == signal:
		case r.Code == 75:
			if !b.saved(w, dir) {
				fault("exit code 75 after %s at %.2f s, and nothing saved", name(signal), after.Seconds())
			}
		case r.Code != 0 && r.Code != 3 && r.Code != 128+int(signal):
			fault("exit code %d after %s at %.2f s: %.200s", r.Code, name(signal), after.Seconds(), r.Stderr)
		}
	}
	if !ended {
		r, err := b.run(w, dir, 0, 0)
		if err != nil {
			return nil, err
		}
		t.Runs++
		if r.Code != whole.code {
			fault("the run after the stops ended with exit code %d, the whole one with %d: %s%.300s", r.Code, whole.code, r.Killed, r.Stderr)
		}
	}
	files, err := results(dir)
	if err != nil {
		return nil, err
	}
	t.Faults = append(t.Faults, compare(whole.files, files)...)
	return t, nil
}

func (b *Bench) saved(w Work, dir string) bool {
	for _, name := range w.Saved {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return true
		}
	}
	return false
}

func name(s syscall.Signal) string {
	switch s {
	case syscall.SIGKILL:
		return "KILL"
	case syscall.SIGTERM:
		return "TERM"
	case syscall.SIGINT:
		return "INT"
	case syscall.SIGUSR1:
		return "USR1"
	}
	return s.String()
}

// results are the files below dir by name.
func results(dir string) (map[string][]byte, error) {
	files := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		files[filepath.ToSlash(rel)], err = os.ReadFile(path)
		return err
	})
	return files, err
}

// compare tells what differs between the files of a whole run and those of a stopped one.
func compare(whole, stopped map[string][]byte) (faults []string) {
	for _, name := range names(whole) {
		got, ok := stopped[name]
		switch {
		case lock(name):
		case !ok:
			faults = append(faults, name+" is missing")
		default:
			if diff := Differ(name, whole[name], got); diff != "" {
				faults = append(faults, name+": "+diff)
			}
		}
	}
	for _, name := range names(stopped) {
		if _, ok := whole[name]; !ok && !lock(name) {
			faults = append(faults, name+" was left")
		}
	}
	return faults
}

// lock tells whether a file is one that says who is at work: it may stay, as long as it lets the next one in.
func lock(name string) bool { return strings.HasSuffix(name, ".lock") }

func names(m map[string][]byte) []string {
	var out []string
	for n := range m {
		out = append(out, n)
	}
	for i := range out {
		for j := i; j > 0 && out[j] < out[j-1]; j-- {
			out[j], out[j-1] = out[j-1], out[j]
		}
	}
	return out
}

var (
	clock = regexp.MustCompile(`(?i)second|elapsed|^started$|^ended$|^pid$|^host$|^path$|^date$|^time$|key$|digest|checksum|sha256$`)
	timed = regexp.MustCompile(`(?i)second|elapsed|time|date`)
)

// Differ tells in which way two files that should be the same differ; what tells the time, who ran, and where, may.
func Differ(name string, a, b []byte) string {
	if bytes.Equal(a, b) {
		return ""
	}
	switch filepath.Ext(name) {
	case ".json":
		var x, y any
		if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
			return "is no JSON"
		}
		return differ("", x, y)
	case ".csv":
		return differCSV(a, b)
	case ".safetensors":
		x, p := split(a)
		y, q := split(b)
		if !bytes.Equal(p, q) {
			return fmt.Sprintf("tensors differ from byte %d on", first(p, q))
		}
		return differ("", x, y)
	}
	return fmt.Sprintf("differs from byte %d on (%d and %d bytes)", first(a, b), len(a), len(b))
}

func first(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// differ names the first place at which two JSON values are not the same. A text that is itself JSON is looked into.
func differ(path string, a, b any) string {
	switch x := a.(type) {
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok {
			return path + " is no object"
		}
		for k, v := range x {
			if clock.MatchString(k) {
				continue
			}
			w, ok := y[k]
			if !ok {
				return path + "/" + k + " is missing"
			}
			if d := differ(path+"/"+k, v, w); d != "" {
				return d
			}
		}
		for k := range y {
			if _, ok := x[k]; !ok && !clock.MatchString(k) {
				return path + "/" + k + " is new"
			}
		}
		return ""
	case []any:
		y, ok := b.([]any)
		if !ok || len(x) != len(y) {
			return path + " has another length"
		}
		for i := range x {
			if d := differ(fmt.Sprintf("%s/%d", path, i), x[i], y[i]); d != "" {
				return d
			}
		}
		return ""
	case string:
		y, _ := b.(string)
		var u, v any
		if x != y && strings.HasPrefix(x, "{") && json.Unmarshal([]byte(x), &u) == nil && json.Unmarshal([]byte(y), &v) == nil {
			return differ(path, u, v)
		}
	}
	if reflect.DeepEqual(a, b) {
		return ""
	}
	return fmt.Sprintf("%s is %.60v for %.60v", path, b, a)
}

// differCSV compares tables; lines of comments and columns that tell the time are left out.
func differCSV(a, b []byte) string {
	rows := func(text []byte) (out [][]string) {
		var skip []bool
		for line := range strings.SplitSeq(strings.TrimSuffix(string(text), "\n"), "\n") {
			if strings.HasPrefix(line, "#") {
				if !timed.MatchString(line) {
					out = append(out, []string{line})
				}
				continue
			}
			cells := strings.Split(line, ",")
			if skip == nil {
				skip = make([]bool, len(cells))
				for i, c := range cells {
					skip[i] = clock.MatchString(c)
				}
			}
			var kept []string
			for i, c := range cells {
				if i >= len(skip) || !skip[i] {
					kept = append(kept, c)
				}
			}
			out = append(out, kept)
		}
		return out
	}
	x, y := rows(a), rows(b)
	for i := range min(len(x), len(y)) {
		if !reflect.DeepEqual(x[i], y[i]) {
			return fmt.Sprintf("row %d is %.80q for %.80q", i+1, strings.Join(y[i], ","), strings.Join(x[i], ","))
		}
	}
	if len(x) != len(y) {
		return fmt.Sprintf("%d rows for %d", len(y), len(x))
	}
	return ""
}

// split takes a safetensors file apart into header and data.
func split(b []byte) (header any, data []byte) {
	if len(b) < 8 {
		return nil, b
	}
	n := binary.LittleEndian.Uint64(b)
	if n > uint64(len(b)-8) || json.Unmarshal(b[8:8+n], &header) != nil {
		return nil, b
	}
	return header, b[8+n:]
}
