package galaxies_test

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"

	"lenskit/tools/galaxies"
)

// Draw galaxies, and find the components that hold most of what varies among them.
func ExamplePrincipalComponents() {
	const n, size = 60, 32
	pix, err := galaxies.Synthesise(context.Background(), n, size, 1, nil)
	if err != nil {
		panic(err)
	}
	set := &galaxies.Cube{N: n, W: size, H: size, Pix: make([]float32, len(pix))}
	for i, v := range pix {
		set.Pix[i] = float32(v)
	}
	model, err := galaxies.PrincipalComponents(context.Background(), set, 8, 1, nil)
	if err != nil {
		panic(err)
	}
	fmt.Println("more than half of the variance:", model.Kept > 0.5)
	// Output: more than half of the variance: true
}

// Make a training set of cut-outs, with a fifth of the galaxies in a file of their own.
func ExampleWritePrepared() {
	const n, size = 20, 40
	pix, err := galaxies.Synthesise(context.Background(), n, size, 1, nil)
	if err != nil {
		panic(err)
	}
	set, left := &galaxies.PreparedSet{}, map[string]int{}
	opt := galaxies.PrepareOptions{Size: 32, Taper: 4}
	for k := range n {
		g := galaxies.Cutout{ID: fmt.Sprint("galaxy ", k), SNR: 30, W: size, H: size, Pix: pix[k*size*size : (k+1)*size*size]}
		if k == 7 {
			g.Pix[0] = math.NaN()
		}
		if why := opt.Prepare(set, g); why != "" {
			left[why]++
		}
	}
	dir, err := os.MkdirTemp("", "galaxies")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	out := galaxies.WriteOptions{Input: "drawn", Output: filepath.Join(dir, "train.fits"), Held: filepath.Join(dir, "held.fits"), Hold: 0.2, Seed: 1}
	if err := galaxies.WritePrepared(set, left, out, io.Discard, nil); err != nil {
		panic(err)
	}
	for _, path := range []string{out.Output, out.Held} {
		cube, _, err := galaxies.ReadCube(path)
		if err != nil {
			panic(err)
		}
		fmt.Println(filepath.Base(path), cube.N, "images of", cube.W, "x", cube.H)
	}
	fmt.Println(left)
	// Output:
	// train.fits 15 images of 32 x 32
	// held.fits 4 images of 32 x 32
	// map[pixels that are not finite:1]
}
