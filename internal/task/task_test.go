package task

import (
	"strings"
	"sync/atomic"
	"testing"
)

func TestPanicsReachTheWaiter(t *testing.T) {
	var g Group
	var ran atomic.Int32
	for i := range 4 {
		g.Go(func() {
			ran.Add(1)
			if i == 2 {
				_ = []int{}[i-2]
			}
		})
	}
	defer func() {
		p, ok := recover().(*Panic)
		if !ok || ran.Load() != 4 || !strings.Contains(p.Error(), "index out of range [0] with length 0") || !strings.Contains(string(p.Stack), "TestPanicsReachTheWaiter") {
			t.Errorf("got %v after %d functions", p, ran.Load())
		}
	}()
	g.Wait()
	t.Error("nothing reached the waiter")
}
