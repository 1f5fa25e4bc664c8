//go:build !windows

package term

import (
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
)

// stopSignals end a run after it has saved itself. Batch systems send SIGUSR1 some time before they end a job.
var stopSignals = []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGUSR1}

// PrepareProcess keeps the process alive when the reader of one of its streams has gone: writing then is an error, which
// a fit that has no one to tell its progress to does not mind. What the Go runtime itself gives up on, such as memory that
// the system refuses, ends without the stacks of all goroutines.
func PrepareProcess() {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	if os.Getenv("LENSKIT_DEBUG") == "" {
		debug.SetTraceback("none")
	}
}
