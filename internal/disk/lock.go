package disk

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// lockName is the file that marks a folder as being worked in.
const lockName = ".lenskit-lock"

// Owners touch their lock every lockBeat; one of another host that did not for lockDead is taken for dead.
const (
	lockBeat = 20 * time.Second
	lockDead = 3 * time.Minute
)

// Owner is the process that works in a folder.
type Owner struct {
	PID   int    `json:"pid"`
	Host  string `json:"host"`
	Start string `json:"start"` // of the process, in the system's own terms; it tells two processes with one PID apart
	Since string `json:"since"` // when it took the folder
}

// Busy is the error of a folder in which another process works.
type Busy struct {
	Dir string
	Owner
	Elsewhere bool // on another host: it may be gone already, which is seen after some minutes only
}

func (b *Busy) Error() string {
	if b.PID == 0 {
		return fmt.Sprintf("%s: another process is at work here, expected one at a time", b.Dir)
	}
	return fmt.Sprintf("%s: process %d on %s is at work here since %s, expected one at a time", b.Dir, b.PID, b.Host, b.Since)
}

// Lock makes this process the owner of the existing folder dir until release is called. The system's own locks decide
// where the file system has them, for they end with their process; elsewhere, and between hosts, the owner's process and
// the age of its last beat do, the latter by the clock that dates the folder's files. A folder with another owner is
// a *Busy error.
func Lock(dir string) (release func(), err error) {
	path := filepath.Join(dir, lockName)
	for range 100 {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|nofollow|nonblock, 0o666)
		if err != nil {
			return nil, &WriteError{path, err}
		}
		ours, lockErr := lockFile(f)
		if !ours && lockErr == nil {
			b := &Busy{Dir: dir, Owner: readOwner(f)}
			f.Close()
			return nil, b
		}
		if !sameFile(f, path) { // its owner ended between the two calls
			f.Close()
			continue
		}
		last := readOwner(f)
		if alive, elsewhere := lives(f, last, lockErr == nil); alive {
			f.Close()
			return nil, &Busy{dir, last, elsewhere}
		}
		me := self()
		me.Since = time.Now().UTC().Format(time.RFC3339)
		if err := writeOwner(f, me); err != nil {
			f.Close()
			return nil, &WriteError{path, err}
		}
		if lockErr != nil { // another may have come to the same end at the same moment: the last to write has it
			time.Sleep(50 * time.Millisecond)
			if readOwner(f) != me {
				f.Close()
				continue
			}
		}
		return keep(f, path), nil
	}
	return nil, &WriteError{path, errors.New("other processes take and leave it all the time")}
}

// lives tells whether the last owner may still be at work, given whether this process holds the system's lock.
func lives(f *os.File, last Owner, locked bool) (alive, elsewhere bool) {
	me := self()
	switch {
	case last.PID == 0:
		return false, false
	case last.Host == me.Host && locked:
		return false, false
	case last.Host == me.Host:
		start, there := startOf(last.PID)
		return there && (start == "" || last.Start == "" || start == last.Start), false
	}
	info, err := f.Stat()
	now, nerr := Now(filepath.Dir(f.Name()))
	if err != nil || nerr != nil {
		return true, true
	}
	age := now.Sub(info.ModTime())
	return -lockDead < age && age < lockDead, true
}

// Now is the time by the clock that dates the files of dir, which on a file server need not be this host's.
func Now(dir string) (time.Time, error) {
	f, err := os.CreateTemp(dir, ".now"+temporaryMark+"-*")
	if err != nil {
		return time.Time{}, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return time.Time{}, err
	}
	return info.ModTime(), nil
}

// self is this process.
func self() Owner {
	o := Owner{PID: os.Getpid()}
	o.Host, _ = os.Hostname()
	o.Start, _ = startOf(o.PID)
	return o
}

// readOwner is what a lock file says; the zero Owner where it says nothing.
func readOwner(f *os.File) (o Owner) {
	data, err := io.ReadAll(io.NewSectionReader(f, 0, 4096))
	if err != nil || json.Unmarshal(data, &o) != nil {
		return Owner{}
	}
	return o
}

func writeOwner(f *os.File, o Owner) error {
	data, err := json.Marshal(o)
	if err != nil {
		return err
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err = f.WriteAt(append(data, '\n'), 0)
	return err
}

// keep touches the lock until it is released.
func keep(f *os.File, path string) (release func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		t := time.NewTicker(lockBeat)
		defer t.Stop()
		for {
			select {
			case <-done:
				return
			case <-t.C:
				touch(path)
			}
		}
	}()
	return func() {
		close(done)
		<-ended
		if sameFile(f, path) {
			os.Remove(path)
		}
		f.Close()
	}
}

// touch dates a file anew by the clock of its file system: writing does, and a time of our own would not.
func touch(path string) {
	f, err := os.OpenFile(path, os.O_RDWR|nofollow, 0)
	if err != nil {
		return
	}
	defer f.Close()
	var first [1]byte
	if _, err := f.ReadAt(first[:], 0); err == nil {
		f.WriteAt(first[:], 0)
	}
}
