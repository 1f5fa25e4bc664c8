package physics

import (
	"lenskit/internal/task"
	"sync/atomic"
	"testing"
	"time"
)

func TestPoolRunsEveryChunkOnce(t *testing.T) {
	for _, n := range []int{1, 2, 5} {
		p := NewPool(n)
		counts := make([]int, 100)
		f := func(c int) { counts[c]++ }
		for range 50 {
			p.Run(len(counts), f)
		}
		for c, k := range counts {
			if k != 50 {
				t.Errorf("%d threads: chunk %d ran %d times, want 50", n, c, k)
			}
		}
		if a := testing.AllocsPerRun(20, func() { p.Run(len(counts), f) }); a != 0 {
			t.Errorf("%d threads: %v allocations a run", n, a)
		}
		p.Close()
	}
}

// Helpers that look out, sleep, come late or are at work when the caller is through do each chunk once, in every order of
// these.
func TestPanicInAPassIsTheCallers(t *testing.T) {
	p := NewPool(3)
	defer p.Close()
	for bad := range 6 {
		func() {
			defer func() {
				if met, ok := recover().(*task.Panic); !ok || met.Value != bad {
					t.Errorf("chunk %d: got %v", bad, met)
				}
			}()
			p.Run(6, func(c int) {
				if c == bad {
					panic(c)
				}
			})
		}()
		var ran atomic.Int32
		p.Run(6, func(int) { ran.Add(1) })
		if ran.Load() != 6 {
			t.Errorf("after a panic %d of 6 chunks ran", ran.Load())
		}
	}
}

func TestPoolWithPauses(t *testing.T) {
	p := NewPool(4)
	defer p.Close()
	counts := make([]atomic.Int64, 9)
	var slow int // a chunk that takes long
	f := func(c int) {
		if c == slow {
			time.Sleep(3 * patience)
		}
		counts[c].Add(1)
	}
	for round := range 300 {
		slow = round%12 - 3
		chunks := 2 + round%8
		if round%5 == 4 {
			p.RunLast(chunks, f)
		} else {
			p.Run(chunks, f)
		}
		for c := range counts {
			want := int64(1)
			if c >= chunks {
				want = 0
			}
			if got := counts[c].Swap(0); got != want {
				t.Fatalf("round %d: chunk %d of %d ran %d times, expected %d", round, c, chunks, got, want)
			}
		}
		switch round % 3 {
		case 1:
			time.Sleep(patience / 2)
		case 2:
			time.Sleep(4 * patience)
		}
	}
}

// Each thread begins with its own stretch, so that work lands where it was.
func TestPoolThreadsKeepTheirStretch(t *testing.T) {
	p := NewPool(2)
	defer p.Close()
	var last atomic.Int64 // the highest chunk begun
	var first [2]atomic.Int64
	gate := make(chan struct{})
	f := func(c int) {
		half := c / 8
		if first[half].CompareAndSwap(0, int64(c)+1) {
			// both threads are in their stretch before one goes on
			if last.Add(1) == 2 {
				close(gate)
			}
			select {
			case <-gate:
			case <-time.After(10 * time.Second):
				t.Error("one thread did both stretches")
			}
		}
	}
	p.Run(16, f)
	if a, b := first[0].Load(), first[1].Load(); a != 1 || b != 9 {
		t.Errorf("stretches begin with chunks %d and %d, expected 0 and 8", a-1, b-1)
	}
}
