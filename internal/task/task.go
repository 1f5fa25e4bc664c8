// Package task runs functions side by side so that a panic in one of them ends up where they are waited for, as if that
// goroutine had met it: there it can be recovered, which a panic of another goroutine cannot.
package task

import (
	"fmt"
	"runtime/debug"
	"sync"
)

// Panic is what a function of a Group panicked with, and where.
type Panic struct {
	Value any
	Stack []byte
}

func (p *Panic) Error() string { return fmt.Sprint(p.Value) }

// Caught is the panic that a deferred function has recovered as r.
func Caught(r any) *Panic {
	if p, ok := r.(*Panic); ok {
		return p
	}
	return &Panic{r, debug.Stack()}
}

// Group is a number of functions that run side by side. The zero Group is ready to use.
type Group struct {
	wait  sync.WaitGroup
	first sync.Once
	met   *Panic
}

// Go calls f in a goroutine.
func (g *Group) Go(f func()) {
	g.wait.Go(func() { g.Guard(f) })
}

// Guard calls f and keeps its panic for Wait. It tells whether f came to its end.
func (g *Group) Guard(f func()) (done bool) {
	defer func() {
		if done {
			return
		}
		p := Caught(recover())
		g.first.Do(func() { g.met = p })
	}()
	f()
	return true
}

// Wait returns when all functions have ended. It panics with a *Panic if one of them did.
func (g *Group) Wait() {
	g.wait.Wait()
	if g.met != nil {
		panic(g.met)
	}
}
