package symbolic_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"lenskit/onnx/symbolic"
)

func ExampleAlgebra() {
	a := symbolic.NewAlgebra()
	n := symbolic.Dim{N: 1, Sym: "N"}
	fmt.Println(a.Affine(a.Mul(n, symbolic.Fixed(4)), 1, 0, 2, 0), a.Size([]symbolic.Dim{n, symbolic.Fixed(3), symbolic.Fixed(8)}))
	fmt.Println(a.Add(n, symbolic.Fixed(1)) == a.Add(symbolic.Fixed(1), n))
	// Output:
	// 2N 24N
	// true
}

// TestExtentsAreWhatTheyAreForEveryBatch puts a number in the place of the symbol before and after.
func TestExtentsAreWhatTheyAreForEveryBatch(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 1))
	a := symbolic.NewAlgebra()
	kept := 0
	for range 3000 {
		n := 1 + rng.Int64N(40)
		draw := func() symbolic.Dim {
			d := symbolic.Fixed(rng.Int64N(12))
			if rng.IntN(2) == 0 {
				d = symbolic.Dim{N: 1 + rng.Int64N(6), Sym: "N"}
			}
			return d
		}
		at := func(d symbolic.Dim) int64 {
			if d.Known() {
				return d.N
			}
			return d.N * n
		}
		x, y := draw(), draw()
		m, p, d, q := 1+rng.Int64N(4), rng.Int64N(9)-4, 1+rng.Int64N(4), rng.Int64N(3)-1
		floor := (at(x)*m+p+100*d)/d - 100 + q // of a sum above -100 d
		results := map[string][2]any{
			"add": {a.Add(x, y), at(x) + at(y)}, "mul": {a.Mul(x, y), at(x) * at(y)}, "affine": {a.Affine(x, m, p, d, q), floor},
			"size": {a.Size([]symbolic.Dim{x, y, symbolic.Fixed(3)}), at(x) * at(y) * 3},
		}
		if z, ok := a.Div(x, y, true); ok {
			results["div"] = [2]any{z, at(x) / max(at(y), 1)}
		}
		if z, ok := a.Mod(x, y); ok {
			results["mod"] = [2]any{z, at(x) % max(at(y), 1)}
		}
		if q := symbolic.Product([]symbolic.Dim{x, y, y}).Over(symbolic.Product([]symbolic.Dim{y})); q.OK {
			results["quotient"] = [2]any{a.Dim(q), at(x) * at(y)}
		}
		for op, r := range results {
			z, want := r[0].(symbolic.Dim), r[1].(int64)
			if z.Sym != "" && z.Sym != "N" {
				continue // an expression of its own
			}
			kept++
			if at(z) != want {
				t.Fatalf("%s of %v and %v (m %d, p %d, d %d, q %d) is %v, which for N = %d is %d, expected %d", op, x, y, m, p, d, q, z, n, at(z), want)
			}
		}
	}
	if kept < 9000 {
		t.Errorf("found %d results to compare, expected most of 20000", kept)
	}
}

// TestSlicesAreThoseOfPython has what Python 3 gives for list(range(n))[start:end:step].
func TestSlicesAreThoseOfPython(t *testing.T) {
	for _, c := range []struct {
		n, start, end, step int64
		want                []int64
	}{
		{10, 2, 8, 3, []int64{2, 5}}, {10, 8, 2, -3, []int64{8, 5}}, {10, -3, 1 << 40, 1, []int64{7, 8, 9}}, {5, -1, -1 << 40, -1, []int64{4, 3, 2, 1, 0}},
		{5, 3, 3, 1, nil}, {5, 4, 1, 1, nil}, {5, -9, -2, 2, []int64{0, 2}}, {5, 9, 0, -2, []int64{4, 2}}, {5, -9, 9, -1, nil}, {0, 0, 5, 1, nil},
	} {
		first, count, err := symbolic.Span(c.start, c.end, c.step, c.n)
		if err != nil {
			t.Fatal(err)
		}
		r, _ := symbolic.Range(0, c.n, 1)
		got, ok := r.Take(0, first, count, c.step).Numbers()
		if !ok || !slices.Equal(got, c.want) {
			t.Errorf("range(%d)[%d:%d:%d] is %v, expected %v", c.n, c.start, c.end, c.step, got, c.want)
		}
	}
}

// TestBroadcastingIsThatOfNumPy has the examples of NumPy's manual, and extents that are not known.
func TestBroadcastingIsThatOfNumPy(t *testing.T) {
	a := symbolic.NewAlgebra()
	dims := func(v ...int64) (s []symbolic.Dim) {
		for _, d := range v {
			s = append(s, symbolic.Fixed(d))
		}
		return s
	}
	for _, c := range []struct{ x, y, want []symbolic.Dim }{
		{dims(256, 256, 3), dims(3), dims(256, 256, 3)}, {dims(8, 1, 6, 1), dims(7, 1, 5), dims(8, 7, 6, 5)},
		{dims(15, 3, 5), dims(15, 1, 5), dims(15, 3, 5)}, {dims(3), dims(4), nil}, {dims(2, 1), dims(8, 4, 3), nil},
		{[]symbolic.Dim{{N: 1, Sym: "N"}, symbolic.Fixed(1)}, dims(5), []symbolic.Dim{{N: 1, Sym: "N"}, symbolic.Fixed(5)}},
	} {
		got, err := a.Broadcast(c.x, c.y)
		if (err != nil) != (c.want == nil) || !slices.Equal(got, c.want) {
			t.Errorf("%v and %v broadcast to %v (%v), expected %v", c.x, c.y, got, err, c.want)
		}
	}
	n, m := symbolic.Dim{N: 1, Sym: "N"}, symbolic.Dim{N: 1, Sym: "M"}
	x, _ := a.Broadcast([]symbolic.Dim{n}, []symbolic.Dim{m})
	y, _ := a.Broadcast([]symbolic.Dim{m}, []symbolic.Dim{n})
	if !slices.Equal(x, y) || symbolic.Among(x, []symbolic.Dim{n}, []symbolic.Dim{m}) {
		t.Errorf("found %v and %v, expected one new symbol", x, y)
	}
}
