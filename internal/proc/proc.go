//go:build unix

// Package proc runs a command within limits of time and memory, and tells what it used and said.
package proc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Command is what to run, and its limits; a limit of 0 is none. What goes beyond a limit is killed.
type Command struct {
	Path   string
	Args   []string
	Dir    string
	Env    []string      // beside the environment of this process
	Wall   time.Duration // from start to end
	CPU    time.Duration // processor time of all threads
	Memory int64         // resident bytes; looked at every 10 ms
	Signal syscall.Signal
	After  time.Duration // Signal is sent so long after the start, unless it is 0
}

// Result is how a command ended.
type Result struct {
	Code   int    // exit code; -1 where a signal ended it
	Killed string // the limit that it went beyond; empty: none
	Signal syscall.Signal
	Stdout []byte // the first 4 MiB
	Stderr []byte
	// bytes written, also those that were not kept
	StdoutSize, StderrSize int64
	Memory                 int64 // largest resident size
	CPU                    time.Duration
	Wall                   time.Duration
	Obeyed                 time.Duration // from the signal to the end; 0: it had ended before
}

// keep holds the first bytes of a stream and counts the others.
type keep struct {
	buf  bytes.Buffer
	size int64
}

func (k *keep) Write(p []byte) (int, error) {
	k.size += int64(len(p))
	if room := 4<<20 - k.buf.Len(); room > 0 {
		k.buf.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

// Run runs c to its end. The error is one of starting it.
func Run(c Command) (*Result, error) {
	cmd := exec.Command(c.Path, c.Args...)
	cmd.Dir = c.Dir
	if len(c.Env) > 0 {
		cmd.Env = append(os.Environ(), c.Env...)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var out, errs keep
	cmd.Stdout, cmd.Stderr = io.Writer(&out), io.Writer(&errs)
	cmd.WaitDelay = 2 * time.Second
	// what this process holds is counted as the child's between fork and exec: its own peak is forgotten first
	os.WriteFile("/proc/self/clear_refs", []byte("5"), 0)
	own := status("self", "VmHWM")
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	r := &Result{}
	var peak int64
	var mu sync.Mutex
	var sent time.Time
	done := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		var signal <-chan time.Time
		if c.Signal != 0 {
			t := time.NewTimer(c.After)
			defer t.Stop()
			signal = t.C
		}
		for {
			var reason string
			select {
			case <-done:
				return
			case <-signal:
				mu.Lock()
				sent = time.Now()
				mu.Unlock()
				syscall.Kill(cmd.Process.Pid, c.Signal)
				continue
			case <-tick.C:
			}
			if c.Wall > 0 && time.Since(start) > c.Wall {
				reason = fmt.Sprintf("not done after %v", c.Wall)
			}
			memory, cpu := usage(cmd.Process.Pid)
			peak = max(peak, memory)
			if c.Memory > 0 && memory > c.Memory {
				reason = fmt.Sprintf("took more than %d MiB", c.Memory>>20)
			}
			if c.CPU > 0 && cpu > c.CPU {
				reason = fmt.Sprintf("used more than %v of the processor", c.CPU)
			}
			if reason != "" {
				mu.Lock()
				r.Killed = reason
				mu.Unlock()
				syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
				return
			}
		}
	}()
	err := cmd.Wait()
	close(done)
	<-stopped
	r.Wall = time.Since(start)
	if !sent.IsZero() {
		r.Obeyed = time.Since(sent)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		return nil, err
	}
	r.Code = cmd.ProcessState.ExitCode()
	if s, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && s.Signaled() {
		r.Signal = s.Signal()
	}
	r.Stdout, r.Stderr = out.buf.Bytes(), errs.buf.Bytes()
	r.StdoutSize, r.StderrSize = out.size, errs.size
	r.CPU = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if u, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		r.Memory = int64(u.Maxrss) << 10
	}
	if r.Memory <= own+8<<20 {
		r.Memory = peak
	}
	return r, nil
}

// usage are the largest resident size so far and the processor time of a process, 0 where the system does not tell.
func usage(pid int) (memory int64, cpu time.Duration) {
	memory = status(strconv.Itoa(pid), "VmHWM")
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil {
		// the name of the command, in brackets, may hold blanks
		if f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:])); len(f) > 12 {
			u, _ := strconv.ParseInt(f[11], 10, 64)
			s, _ := strconv.ParseInt(f[12], 10, 64)
			cpu = time.Duration(u+s) * 10 * time.Millisecond
		}
	}
	return memory, cpu
}

// status is a size that the system tells of a process, in bytes.
func status(pid, key string) int64 {
	b, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), key+":")
	line, _, _ := strings.Cut(rest, "\n")
	if f := strings.Fields(line); len(f) > 0 {
		n, _ := strconv.ParseInt(f[0], 10, 64)
		return n << 10
	}
	return 0
}

// Slack tells how many times longer than on an idle machine something may take: as many as the processes that wait for each of
// the processors, but no more than four times.
func Slack() float64 {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 1
	}
	load, err := strconv.ParseFloat(strings.Fields(string(b))[0], 64)
	if err != nil {
		return 1
	}
	return min(4, max(1, load/float64(runtime.NumCPU())))
}
