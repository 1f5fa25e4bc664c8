package term

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"lenskit/internal/disk"
)

// Stopped is the cause of a context that a signal has cancelled.
type Stopped struct{ os.Signal }

func (s Stopped) Error() string { return fmt.Sprintf("stopped by signal: %v", s.Signal) }

// Grace is how long work that was told to stop may take to see it by itself.
const Grace = time.Second

// WithSignals returns a context that the first interrupt or termination signal cancels, with cause stopped, so that work
// can save itself. Where it does not come to that in time, its guard ends the process: with what can be saved, or with
// nothing while nothing has been computed. A second interrupt from the keyboard ends the process at once. The context of
// signal.NotifyContext would tell neither which signal it was, on which message and exit code hang, nor that there is a second.
func WithSignals(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	g := &Guard{}
	ctx = context.WithValue(ctx, guardKey{}, g)
	ch := make(chan os.Signal, 4)
	signal.Notify(ch, stopSignals...)
	done := make(chan struct{})
	go func() {
		var first os.Signal
		var late <-chan time.Time
		for {
			select {
			case <-done:
				return
			case s := <-ch:
				if first != nil && s == os.Interrupt {
					g.exit(130, nil)
				}
				if first == nil {
					first = s
					cancel(Stopped{s})
					late = time.After(Grace)
				}
			case <-late:
				g.end(first)
				late = time.After(Grace / 4)
			}
		}
	}()
	return ctx, func() {
		signal.Stop(ch)
		close(done)
		cancel(nil)
	}
}

type guardKey struct{}

// Guard ends the process of a run that was told to stop, if that does not end by itself. Until the run tells it what can
// be saved there is nothing to lose.
type Guard struct {
	mu      sync.Mutex
	patient bool         // the work under way stops by itself
	save    func() error // writes what there is and returns what is then to be said; nil: there is nothing yet
	leave   []func()     // what is to be put in order
}

// GuardOf is the guard of a run's context; where signals are not handled, one that does nothing.
func GuardOf(ctx context.Context) *Guard {
	if g, ok := ctx.Value(guardKey{}).(*Guard); ok {
		return g
	}
	return &Guard{}
}

// During says how the part of a run that begins is saved from outside; done says that it is over.
func (g *Guard) During(save func() error) (done func()) { return g.set(false, save) }

// Trusting says that the part of a run that begins sees by itself, in time, that it is to stop.
func (g *Guard) Trusting() (done func()) { return g.set(true, nil) }

func (g *Guard) set(patient bool, save func() error) (done func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	was, before := g.patient, g.save
	g.patient, g.save = patient, save
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.patient, g.save = was, before
	}
}

// OnExit has f called when the guard ends the process.
func (g *Guard) OnExit(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.leave = append(g.leave, f)
}

// end ends the process, unless the work under way does.
func (g *Guard) end(s os.Signal) {
	g.mu.Lock()
	patient, save := g.patient, g.save
	if patient {
		g.mu.Unlock()
		return
	}
	err := tooEarly(s)
	if save != nil {
		err = save()
	}
	g.mu.Unlock()
	g.exit(ExitCode(err), err)
}

// exit ends the process without temporary files or locks of its own. It waits for nobody who stands in its way.
func (g *Guard) exit(code int, err error) {
	g.mu.Lock() // nothing else is to be said
	disk.Discard()
	orderly := make(chan struct{})
	go func() {
		for i := len(g.leave) - 1; i >= 0; i-- {
			g.leave[i]()
		}
		close(orderly)
	}()
	select {
	case <-orderly:
	case <-time.After(Grace / 2):
	}
	if err != nil {
		Report(os.Stderr, err)
	}
	os.Exit(code)
}

// tooEarly is the error of a run that a signal has ended before there was anything to save. Its exit code is that of a
// process which the signal ended.
func tooEarly(s os.Signal) error {
	code := ExitUnexpected
	if n, ok := s.(syscall.Signal); ok {
		code = 128 + int(n)
	}
	return &Failure{Code: code, err: fmt.Errorf("%w before there was anything to save: run the same command again", Stopped{s})}
}
