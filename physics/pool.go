package physics

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// Pool is a set of goroutines made once and used for every pass over the rays. A nil *Pool runs everything in the
// caller.
//
// Work is cut into chunks whose number the caller fixes without regard to the number of threads; each chunk writes to
// places of its own, and sums over chunks are taken by the caller in the order of the chunks. Results are then the same
// bit for bit for every number of threads.
type Pool struct {
	n    int
	wake chan struct{}
	wg   sync.WaitGroup
	next atomic.Int64
	f    func(chunk int)
	end  int64
}

// NewPool makes a pool of n threads, the caller's included; n <= 0 takes GOMAXPROCS. Close it to end the goroutines.
func NewPool(n int) *Pool {
	if n <= 0 {
		n = runtime.GOMAXPROCS(0)
	}
	p := &Pool{n: n, wake: make(chan struct{}, n)}
	for range n - 1 {
		go p.work()
	}
	return p
}

// Threads is the number of threads, the caller's included.
func (p *Pool) Threads() int {
	if p == nil {
		return 1
	}
	return p.n
}

// Run calls f(0) … f(chunks-1), spread over the threads, and returns when all are done. It allocates nothing; f should
// be a function value made once. Run is not to be called from within f or from two goroutines at a time.
func (p *Pool) Run(chunks int, f func(chunk int)) {
	if p == nil || p.n == 1 || chunks <= 1 {
		for c := range chunks {
			f(c)
		}
		return
	}
	p.f, p.end = f, int64(chunks)
	p.next.Store(0)
	helpers := min(p.n, chunks) - 1
	p.wg.Add(helpers)
	for range helpers {
		p.wake <- struct{}{}
	}
	p.drain()
	p.wg.Wait()
	p.f = nil
}

// Close ends the goroutines. The pool must not be used afterwards.
func (p *Pool) Close() {
	if p != nil {
		close(p.wake)
	}
}

func (p *Pool) work() {
	for range p.wake {
		p.drain()
		p.wg.Done()
	}
}

func (p *Pool) drain() {
	for {
		c := p.next.Add(1) - 1
		if c >= p.end {
			return
		}
		p.f(int(c))
	}
}
