package tools

import (
	"runtime"
)

// allocated is the number of bytes that the process has reserved so far, given back or not.
func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}
