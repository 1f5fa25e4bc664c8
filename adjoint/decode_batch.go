package adjoint

import (
	"sync"

	"lenskit/onnx/diff"
	"lenskit/onnx/footprint"
	"lenskit/onnx/ort"
)

// company is the posteriors of several chains whose networks run as one batch, a row for each. A member that has joined
// waits at every call of a network until all that have joined wait; then what most of them wait for is run for all. A row
// does not depend on what the others hold, so a chain makes the same draws whenever its calls are served.
type company struct {
	mu      sync.Mutex
	served  *sync.Cond
	asks    []ask // of each member
	joined  int
	waiting int
	turns   chan struct{} // one for each thread: who computes between two calls
}

// ask is what a member waits for.
type ask struct {
	joined, waiting bool
	turn            bool // a turn is held; the member's own
	batch           *decoderBatch
	reverse         bool
	err             error
}

func newCompany(members, threads int) *company {
	c := &company{asks: make([]ask, members), turns: make(chan struct{}, threads)}
	c.served = sync.NewCond(&c.mu)
	return c
}

// join makes the others wait for a member from now on.
func (c *company) join(member int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a := &c.asks[member]; !a.joined {
		a.joined = true
		c.joined++
	}
}

// leave makes them wait no longer.
func (c *company) leave(member int) {
	c.yield(member)
	c.mu.Lock()
	defer c.mu.Unlock()
	if a := &c.asks[member]; a.joined {
		a.joined = false
		c.joined--
		c.serve()
	}
}

// yield gives a member's turn back.
func (c *company) yield(member int) {
	if a := &c.asks[member]; a.turn {
		a.turn = false
		<-c.turns
	}
}

// run runs one direction of a batch that a member has filled its row of.
func (c *company) run(member int, b *decoderBatch, reverse bool) error {
	c.yield(member)
	c.mu.Lock()
	a := &c.asks[member]
	if !a.joined {
		defer c.mu.Unlock()
		return b.pair.run(reverse)
	}
	a.batch, a.reverse, a.waiting = b, reverse, true
	c.waiting++
	c.serve()
	for a.waiting {
		c.served.Wait()
	}
	err := a.err
	c.mu.Unlock()
	c.turns <- struct{}{}
	a.turn = true
	return err
}

// serve runs what most members wait for once all of them wait.
func (c *company) serve() {
	if c.waiting == 0 || c.waiting < c.joined {
		return
	}
	alike := func(a, b *ask) bool { return b.waiting && a.batch == b.batch && a.reverse == b.reverse }
	var most *ask
	count := 0
	for i := range c.asks {
		n := 0
		for k := range c.asks {
			if alike(&c.asks[i], &c.asks[k]) {
				n++
			}
		}
		if c.asks[i].waiting && n > count {
			most, count = &c.asks[i], n
		}
	}
	chosen := *most
	err := chosen.batch.pair.run(chosen.reverse)
	for k := range c.asks {
		if a := &c.asks[k]; alike(&chosen, a) {
			a.waiting, a.err = false, err
			c.waiting--
		}
	}
	c.served.Broadcast()
}

// decoderBatch is a network on onnxruntime with a row of its batch for each member of a company. Rows keep their latents,
// so running forward again for some leaves the activations of the others as they are.
type decoderBatch struct {
	*derived
	company *company
	opt     ort.Options
	pair    sessionPair
	open    int // rows that are not closed
}

// batched are the graphs of a batch of n, nil when the network does not take one or its images would not be the same.
func (d *derived) batched(n int) *diff.Pair {
	if d.alone() != nil {
		return nil
	}
	shape := append([]int64{int64(n)}, d.inShape[1:]...)
	g, err := diff.BindInput(d.unbound, d.in, shape)
	if err != nil {
		return nil
	}
	pixels := int64(1)
	for _, e := range g.Outputs[0].Shape {
		pixels *= e.N
	}
	if pixels != int64(n*d.w*d.h) || g.Outputs[0].Shape[0].N != int64(n) {
		return nil
	}
	graphs, err := diff.Split(g, diff.Options{Wrt: []string{d.in}, Of: []string{d.out}})
	if err != nil || !footprint.Fits(graphs.Forward, footprint.BatchRoom) || !footprint.Fits(graphs.Backward, footprint.BatchRoom) {
		return nil
	}
	return graphs
}

func newDecoderBatch(d *derived, graphs *diff.Pair, c *company, opt Options) (*decoderBatch, error) {
	b := &decoderBatch{derived: d, company: c, open: len(c.asks), opt: opt.session()}
	b.opt.Room = footprint.BatchRoom
	return b, b.pair.start(graphs, d, b.opt)
}

// stopAll frees the sessions of batches whatever rows are open.
func stopAll(batches map[int]*decoderBatch) {
	for _, b := range batches {
		b.pair.stop()
	}
}

// decoderRow is the decoder of one member.
type decoderRow struct {
	*decoderBatch
	row   int
	alone *sessionDecoder // for Jacobians; made when first asked for
}

// part is a row's part of a tensor.
func (r *decoderRow) part(t []float32) []float32 {
	n := len(t) / len(r.company.asks)
	return t[r.row*n : (r.row+1)*n]
}

// ask fills the row of an input and runs one direction.
func (r *decoderRow) ask(reverse bool, input []float32, v []float64) error {
	r.company.mu.Lock()
	narrow(r.part(input), v)
	r.company.mu.Unlock()
	return r.company.run(r.row, r.decoderBatch, reverse)
}

func (r *decoderRow) forward(img, z []float64) error {
	if err := r.ask(false, r.pair.z, z); err != nil {
		return err
	}
	widen(img, r.part(r.pair.img))
	return nil
}

func (r *decoderRow) reverse(gz, gimg []float64) error {
	if err := r.ask(true, r.pair.gi, gimg); err != nil {
		return err
	}
	addWide(gz, r.part(r.pair.gz))
	return nil
}

func (r *decoderRow) jacobian(imgs [][]float64, directions, z []float64) error {
	if r.alone == nil {
		r.alone = &sessionDecoder{derived: r.derived, opt: r.opt}
	}
	return r.alone.jacobian(imgs, directions, z)
}

func (r *decoderRow) close() error {
	var first error
	if r.alone != nil {
		first = r.alone.close()
		r.alone = nil
	}
	r.company.mu.Lock()
	defer r.company.mu.Unlock()
	if r.open--; r.open == 0 {
		if err := r.pair.stop(); first == nil {
			first = err
		}
	}
	return first
}
