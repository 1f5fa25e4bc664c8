//go:build !windows

package tools

import (
	"os"
	"syscall"
)

// stopSignals end a run after it has saved itself. Batch systems send SIGUSR1 some time before they end a job.
var stopSignals = []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGUSR1}
