//go:build unix

package check

import (
	"syscall"
	"time"
)

// processorTime is what all threads of the process have used, in user and in kernel mode.
func processorTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
