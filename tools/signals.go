package tools

import (
	"context"
	"fmt"
	"os"
	"os/signal"
)

// stopped is the cause of a context that a signal has cancelled.
type stopped struct{ os.Signal }

func (s stopped) Error() string { return fmt.Sprintf("stopped by signal: %v", s.Signal) }

// withSignals returns a context that the first interrupt or termination signal cancels, with cause stopped, so that work
// can save itself. A second interrupt from the keyboard ends the process at once.
func withSignals(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	ch := make(chan os.Signal, 4)
	signal.Notify(ch, stopSignals...)
	done := make(chan struct{})
	go func() {
		first := true
		for {
			select {
			case <-done:
				return
			case s := <-ch:
				if !first && s == os.Interrupt {
					os.Exit(130)
				}
				if first {
					cancel(stopped{s})
				}
				first = false
			}
		}
	}()
	return ctx, func() {
		signal.Stop(ch)
		close(done)
		cancel(nil)
	}
}
