package physics

import (
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"lenskit/internal/task"
)

// Pool is a set of goroutines made once and used for every pass over the rays. A nil *Pool runs everything in the
// caller.
//
// Work is cut into chunks whose number the caller fixes without regard to the number of threads; each chunk writes to
// places of its own, and sums over chunks are taken by the caller in the order of the chunks. Results are then the same
// bit for bit for every number of threads.
//
// Each thread has a stretch of chunks of its own, the same from pass to pass, so that what it wrote in one is in its cache
// in the next; one that is through takes from the others' stretches.
//
// Passes follow each other within microseconds, and to wake a sleeping thread takes longer than a short pass: helpers
// look out for the next pass for patience, then sleep. A helper that has not woken when the work is done is not waited for.
// They sleep on pipes, not channels: a goroutine that a channel wakes is next in line on the waker's own processor, from
// which another thread may take it 50 µs later at the soonest.
type Pool struct {
	helpers []helper
	shares  []share // of the caller, then of the helpers
	f       func(chunk int)
	last    atomic.Bool                // no pass follows soon
	met     atomic.Pointer[task.Panic] // the first of a pass
}

// share is a thread's stretch of chunks: those from next to end are left.
type share struct {
	next atomic.Int64
	end  int64
	_    [48]byte // of its own cache line
}

// helper is a goroutine's part in a pass: posted by Run, taken by the goroutine or taken back by Run.
type helper struct {
	state  atomic.Int32
	asleep atomic.Bool
	rested chan struct{}
	// a byte through the pipe wakes it, its end ends it
	sleep, wake *os.File
	_           [32]byte // of its own cache line
}

const (
	resting = iota // there is nothing to do
	posted
	taken
	awaited // taken, and Run sleeps until rested
)

var wakeUp = []byte{1}

// patience is how long one that waits looks before it sleeps.
const patience = 30 * time.Microsecond

// NewPool makes a pool of n threads, the caller's included; n <= 0 takes GOMAXPROCS. There are fewer where the system has
// no pipes left. Close it to end the goroutines.
func NewPool(n int) *Pool {
	if n <= 0 {
		n = runtime.GOMAXPROCS(0)
	}
	p := &Pool{helpers: make([]helper, n-1)}
	for i := range p.helpers {
		h := &p.helpers[i]
		var err error
		if h.sleep, h.wake, err = os.Pipe(); err != nil {
			p.helpers = p.helpers[:i]
			break
		}
		h.rested = make(chan struct{}, 1)
	}
	p.shares = make([]share, len(p.helpers)+1)
	for i := range p.helpers {
		go p.work(i)
	}
	return p
}

// Threads is the number of threads, the caller's included.
func (p *Pool) Threads() int {
	if p == nil {
		return 1
	}
	return len(p.helpers) + 1
}

// Run calls f(0) … f(chunks-1), spread over the threads, and returns when all are done. It allocates nothing; f should
// be a function value made once. Run is not to be called from within f or from two goroutines at a time.
func (p *Pool) Run(chunks int, f func(chunk int)) { p.run(chunks, f, false) }

// RunLast is Run for a pass that none follows soon. Helpers sleep after it, for they would take the core of a network's
// threads: a thread that finds no idle core when it wakes may share the waker's for milliseconds.
func (p *Pool) RunLast(chunks int, f func(chunk int)) { p.run(chunks, f, true) }

func (p *Pool) run(chunks int, f func(chunk int), last bool) {
	if p == nil || len(p.helpers) == 0 || chunks <= 1 {
		for c := range chunks {
			f(c)
		}
		return
	}
	p.f = f
	p.last.Store(last)
	for i := range p.shares {
		s := &p.shares[i]
		s.next.Store(int64(i * chunks / len(p.shares)))
		s.end = int64((i + 1) * chunks / len(p.shares))
	}
	called := p.helpers[:min(len(p.helpers), chunks-1)]
	for i := range called {
		h := &called[i]
		h.state.Store(posted)
		if h.asleep.CompareAndSwap(true, false) {
			if _, err := h.wake.Write(wakeUp); err != nil {
				panic("physics: pool: " + err.Error())
			}
		}
	}
	p.guarded(0)
	for i := range called {
		h := &called[i]
		if h.state.CompareAndSwap(posted, resting) {
			continue
		}
		if !within(patience, func() bool { return h.state.Load() == resting }) && h.state.CompareAndSwap(taken, awaited) {
			<-h.rested
		}
	}
	p.f = nil
	if met := p.met.Swap(nil); met != nil {
		panic(met)
	}
}

// Close ends the goroutines. The pool must not be used afterwards.
func (p *Pool) Close() {
	if p != nil {
		for i := range p.helpers {
			p.helpers[i].wake.Close()
		}
	}
}

func (p *Pool) work(i int) {
	h, woken := &p.helpers[i], make([]byte, 1)
	for {
		if h.state.CompareAndSwap(posted, taken) {
			p.guarded(i + 1)
			if h.state.Swap(resting) == awaited {
				h.rested <- struct{}{}
			}
		}
		if !p.last.Load() && within(patience, func() bool { return h.state.Load() == posted }) {
			continue
		}
		h.asleep.Store(true)
		if h.state.Load() == posted && h.asleep.CompareAndSwap(true, false) {
			continue
		}
		if _, err := h.sleep.Read(woken); err != nil {
			h.sleep.Close()
			return
		}
	}
}

// within looks until done or for the time d, and tells whether it came to be. Others may run meanwhile.
func within(d time.Duration, done func() bool) bool {
	for start := time.Now(); ; runtime.Gosched() {
		for range 64 {
			if done() {
				return true
			}
		}
		if time.Since(start) > d {
			return false
		}
	}
}

// guarded is drain that keeps a panic for the caller of Run.
func (p *Pool) guarded(own int) {
	done := false
	defer func() {
		if !done {
			p.met.CompareAndSwap(nil, task.Caught(recover()))
		}
	}()
	p.drain(own)
	done = true
}

// drain does a thread's own share, then what is left of the others'.
func (p *Pool) drain(own int) {
	for i := range p.shares {
		s := &p.shares[(own+i)%len(p.shares)]
		for c := s.next.Add(1) - 1; c < s.end; c = s.next.Add(1) - 1 {
			p.f(int(c))
		}
	}
}
