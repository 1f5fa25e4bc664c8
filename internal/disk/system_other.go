//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package disk

import (
	"errors"
	"os"
)

const (
	nonblock = 0
	nofollow = 0
)

func full(error) bool { return false }

func lockFile(*os.File) (bool, error) { return false, errors.ErrUnsupported }

func startOf(pid int) (start string, there bool) {
	p, err := os.FindProcess(pid)
	if err != nil {
		return "", false
	}
	p.Release()
	return "", true
}
