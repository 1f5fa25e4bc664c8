//go:build unix

package hostile

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"lenskit/internal/proc"
)

// seedConfig is the model of the mock that everything starts from.
const seedConfig = `data: {size: [24, 24], noise: 0.05, psf: {gaussian: 0.1}, pixel_scale: 0.15}
lens:
  - type: sie
    priors:
      theta_E: {normal: [0.9, 0.1], bounds: [0.5, 1.5], truth: 0.9}
source:
  - {type: decoder, model: b, interpolation: bicubic}
`

// richConfig names every kind of file and most keys that a config may have.
const richConfig = `data:
  image: "m.fits[0]"
  noise: "noise.fits"
  psf: {file: psf.fits}
  pixel_scale: 0.15
  mask: {annulus: [0.2, 1.7], center: [0, 0]}
  supersampling: 2
lens:
  - type: epl
    name: main
    redshift: 0.3
    priors:
      theta_E: {uniform: [0.5, 1.5], init: 0.9}
      gamma: {fixed: 2.0}
      e1: {normal: [0, 0.1], bounds: [-0.5, 0.5]}
  - type: shear
    redshift: 0.3
source:
  - type: sersic
    redshift: 1.5
    priors: {n: {lognormal: [0, 0.3], bounds: [0.3, 6]}, amp: {fixed: 1}}
lens_light:
  - type: gaussian
    priors: {amp: {normal: [1, 0.5], bounds: [0, .inf]}}
sky: {normal: [0, 0.1]}
`

// trainFlags make a network that trains in a fraction of a second.
const trainFlags = "--channels 4,4,4,4 --hidden 8 --latents 4 --samples 1 --rate 1e-3 --batch 16 --quiet"

// commands of the runs whose checkpoints are kept: whoever goes on from them must use the same words.
const (
	fitStopped    = "fit m.yaml -o cf --starts 400 --quiet"
	sampleStopped = "sample cs --draws 4000 --warmup 20 --chains 2 --quiet"
	trainStopped  = "train-vae g64.fits -o ct --epochs 400 " + trainFlags
)

// makeSeeds lets lenskit make the files that are mutated, in the folder dir. It takes a few seconds.
func makeSeeds(binary, dir string) error {
	run := func(line string) error {
		r, err := proc.Run(proc.Command{Path: binary, Args: strings.Fields(line), Dir: dir, Wall: 2 * time.Minute})
		if err != nil {
			return err
		}
		if r.Code != 0 && r.Code != 3 {
			return fmt.Errorf("lenskit %s: exit code %d %s: %s", line, r.Code, r.Killed, r.Stderr)
		}
		return nil
	}
	write := func(name string, b []byte) error { return os.WriteFile(filepath.Join(dir, name), b, 0o644) }
	for name, b := range map[string][]byte{
		"base.yaml": []byte(seedConfig), "rich.yaml": []byte(richConfig), "points.csv": []byte("x,y\n0.5,0.25\n-1,0.125\n1e-3,2\n"),
		"z.npy":      npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 4), }", make([]byte, 16)),
		"noise.fits": image(-32, 24, 24, constant(24*24, 0.05)), "psf.fits": image(-32, 5, 5, constant(25, 1)), "mask.fits": image(8, 24, 24, bytes.Repeat([]byte{1}, 24*24)),
		"gz.fits.gz": zipped(image(-32, 24, 24, constant(24*24, 0.1))), "bz.fits.bz2": embedded(bzipped), "xz.fits.xz": embedded(xzipped),
		"gzip.fits.fz": tiled("GZIP_1", 24, 24, nil), "rice.fits.fz": tiled("RICE_1", 24, 24, nil),
		"lens.csv": []byte("name,config,image,noise,psf,pixel_scale\none,m.yaml,,,,\ntwo,,m.fits,0.05,none,0.15\n"),
		"net.onnx": decoder(18, []message{node("Reshape", "a,s", "r"), node("Conv", "r,k", "c", attr("pads", []int{1, 1, 1, 1})), node("Tanh", "c", "y")},
			floats("k", []float32{0, .1, 0, .1, 1, .1, 0, .1, 0}, 1, 1, 3, 3)),
	} {
		if err := write(name, b); err != nil {
			return err
		}
	}
	var table strings.Builder
	table.WriteString("id,peak_snr,mag\n")
	for i := range 60 {
		fmt.Fprintf(&table, "%d,%d,%g\n", i/2, 25+i, 21.5+0.01*float64(i))
	}
	if err := write("g.csv", []byte(table.String())); err != nil {
		return err
	}
	for _, line := range []string{
		"dataset synth -o g.fits --count 60 --size 16 --quiet", "dataset synth -o g64.fits --count 40 --quiet", "dataset bundle g.fits -o b --latents 4 --quiet",
		"mock base.yaml -o m.fits --quiet", "fit m.yaml -o f --starts 2 --quiet", "sample f --draws 12 --warmup 12 --chains 2 --quiet",
		"fit m.yaml -o cs --starts 2 --quiet",
		"train-vae g64.fits -o t --epochs 2 " + trainFlags, "export-vae t -o vb --quiet", "export-vae t --to-torch x.safetensors --quiet",
		"survey plan lens.csv -o s --starts 2 --quiet", "survey run s --index 1 --quiet", "export-coolest f -o c --lens-redshift 0.3 --source-redshift 1 --quiet",
		"survey merge s --quiet",
	} {
		if err := run(line); err != nil {
			return err
		}
	}
	b, err := os.ReadFile(filepath.Join(dir, "x.safetensors"))
	if err != nil {
		return err
	}
	ts, err := tensorsOf(b)
	if err != nil {
		return err
	}
	if err := write("x.pt", torchZip(stateDict(ts, false), ts, 0)); err != nil {
		return err
	}
	if err := write("old.pt", torchLegacy(stateDict(ts, true), ts)); err != nil {
		return err
	}
	for _, c := range []struct{ line, file string }{
		{fitStopped, "cf/checkpoint"}, {sampleStopped, "cs/checkpoint"}, {trainStopped, "ct/checkpoint.safetensors"},
	} {
		if err := stopped(binary, dir, c.line, filepath.Join(dir, c.file)); err != nil {
			return err
		}
	}
	// figures are read by nobody
	return filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".png") {
			return os.Remove(path)
		}
		return err
	})
}

// stopped runs a command and stops it until it has left its checkpoint, later at each try.
func stopped(binary, dir, line, file string) error {
	for after := 150 * time.Millisecond; after < 4*time.Second; after = after * 5 / 4 {
		r, err := proc.Run(proc.Command{Path: binary, Args: strings.Fields(line), Dir: dir, Wall: time.Minute, Signal: syscall.SIGTERM, After: after})
		if err != nil {
			return err
		}
		if _, err := os.Stat(file); err == nil && r.Code == 75 {
			return nil
		}
		if r.Code == 0 || r.Code == 3 {
			break
		}
	}
	return fmt.Errorf("lenskit %s: left no %s when it was stopped", line, file)
}

// constant is n big-endian float32.
func constant(n int, v float32) []byte {
	var b []byte
	for range n {
		b = binary.BigEndian.AppendUint32(b, math.Float32bits(v))
	}
	return b
}

// bzipped and xzipped are one image of 24 x 24 small integers through bzip2 and xz, for which Go has no writers.
const (
	bzipped = "QlpoOTFBWSZTWQLOtl4AATJ/gPig8IRAAbRCNydMQD8j3iAACDAAuQNE1DU9GUNANBkaNGymmNQxkMhoNBo0AaABoYIqIIBoAGjQGgACDBgov7jFiBCQEFlRJmdlGRu3md" +
		"mlFIgrQBAIAuUffPpXoKENdlrgjTTHlNtkQu060BYVvRUQeTtkJiIkFlgoCpATytMX+tZys3F7+QD7b2VCiEyjD6Q1CgS8x5pB1BWJqyUM5MfEq64xn7rD2uOK7rpmBjDD" +
		"tRzo5QRA3AgJCA/i7kinChIAWdbLwA=="
	xzipped = "/Td6WFoAAATm1rRGAgAhARYAAAB0L+Wj4BZ/ALBdACmSRdqJu1iaO+SlvDKzWNyX2SRbHmdmRD5h2+G4I58FQYUxN8gwbDtjRjUGCC0fU/C7v1TyKxPK3SDAZxGu7Kz8RS" +
		"W4RFdhv454+IvI5NvrdhE+lYsBLmto/x2WYgBCg9r6oBN2S4NmeH64UELa9PC47hsv/VfiAobRKY2TYXwh7V4cMtXxaWHFxMTkW7YX6plZRn2HtzbLPzmFWxNVNhdqHwBc" +
		"9tqvcL6FYoTEc+cAAM9CaSG2K1lxAAHMAYAtAAAqQNNFscRn+wIAAAAABFla"
)
