package tools

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"lenskit/internal/disk"
)

// checkpoint keeps what a run needs to go on in a file of its folder. It belongs to one run: another config, other
// inputs or other options have another key.
type checkpoint struct {
	path string
	key  string

	mu      sync.Mutex
	written time.Time
	made    time.Time
	text    []byte // of the state as it was then; nil: none, or the run is over
}

// Times between states that are kept in memory, for a run that does not stop by itself, and between writes.
const (
	checkpointKeep  = 2 * time.Second
	checkpointEvery = 20 * time.Second
)

// maxCheckpoint is the size up to which a checkpoint is read.
const maxCheckpoint = 2 << 30

// checkpointFile is what the file holds.
type checkpointFile struct {
	Key   string          `json:"key"`
	Sum   string          `json:"sha256"`          // of all the rest
	Files []string        `json:"files,omitempty"` // that the run has written so far
	State json.RawMessage `json:"state"`
}

// sum is the checksum of the rest.
func (f checkpointFile) sum() (string, error) {
	f.Sum = ""
	text, err := json.Marshal(f)
	return disk.SumOf(text), err
}

// newCheckpoint is the checkpoint in dir of the run that the parts (config text, inputs, options, …) describe.
func newCheckpoint(dir string, parts ...any) (*checkpoint, error) {
	h := sha256.New()
	if err := json.NewEncoder(h).Encode(parts); err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	return &checkpoint{path: filepath.Join(dir, fileCheckpoint), key: hex.EncodeToString(h.Sum(nil)), written: time.Now()}, nil
}

// readCheckpoint reads a checkpoint of whatever run. It returns nil where there is none, and where it is damaged; notice
// then says so.
func readCheckpoint(path string) (f *checkpointFile, notice string, err error) {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, "", nil
	}
	data, err := disk.Read(path, maxCheckpoint)
	if err != nil {
		return nil, "", err
	}
	f = &checkpointFile{}
	if err := json.Unmarshal(data, f); err != nil {
		return nil, unreadable(path, jsonReason(err)), nil
	}
	switch sum, err := f.sum(); {
	case err != nil:
		return nil, unreadable(path, jsonReason(err)), nil
	case f.Sum == "":
		return nil, unreadable(path, "it has no checksum"), nil
	case f.Sum != sum:
		return nil, unreadable(path, "its checksum is not that of its content"), nil
	}
	return f, "", nil
}

// unreadable tells that a run cannot go on from a file.
func unreadable(path, why string) string {
	return fmt.Sprintf("%s: cannot be read (%s): starting afresh", path, why)
}

// load reads the state into v, which is of no use where it returns false: there is none, or a damaged one, or one of
// another run; notice then says so.
func (c *checkpoint) load(v any) (found bool, notice string, err error) {
	f, notice, err := readCheckpoint(c.path)
	if f == nil {
		return false, notice, err
	}
	if f.Key != c.key {
		return false, fmt.Sprintf("%s: belongs to a run with another config, input or option: starting afresh", c.path), nil
	}
	if err := json.Unmarshal(f.State, v); err != nil {
		return false, unreadable(c.path, jsonReason(err)), nil
	}
	return true, "", nil
}

// save writes v, and the names of the files that go with it, unless that was done a moment ago.
func (c *checkpoint) save(v any, files ...string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.made) < checkpointKeep {
		return nil
	}
	if err := c.keep(v, files); err != nil || time.Since(c.written) < checkpointEvery {
		return err
	}
	return c.write()
}

// force writes v, and the names of the files that go with it, atomically.
func (c *checkpoint) force(v any, files ...string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.keep(v, files); err != nil {
		return err
	}
	return c.write()
}

// last writes the state that was kept last, if the run is not over. It is for those who cannot ask the run.
func (c *checkpoint) last() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.write()
}

// stop is last and then the error of a run that has been stopped with its state saved.
func (c *checkpoint) stop(ctx context.Context) error {
	if err := c.last(); err != nil {
		return err
	}
	return stateSaved(ctx, c.path, false)
}

func (c *checkpoint) keep(v any, files []string) error {
	state, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("%s: %w", c.path, err)
	}
	f := checkpointFile{Key: c.key, Files: files, State: state}
	if f.Sum, err = f.sum(); err != nil {
		return fmt.Errorf("%s: %w", c.path, err)
	}
	if c.text, err = json.Marshal(f); err != nil {
		return fmt.Errorf("%s: %w", c.path, err)
	}
	c.made = time.Now()
	return nil
}

func (c *checkpoint) write() error {
	if c.text == nil {
		return nil
	}
	if err := writeAtomic(c.path, func(w io.Writer) error { _, err := w.Write(append(c.text, '\n')); return err }); err != nil {
		return err
	}
	c.written = time.Now()
	return nil
}

// remove deletes the file once the run has its results.
func (c *checkpoint) remove() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.text = nil
	if err := os.Remove(c.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %s", c.path, reason(err))
	}
	return nil
}
