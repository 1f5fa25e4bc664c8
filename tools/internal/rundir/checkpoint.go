package rundir

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
	"lenskit/tools/internal/term"
)

// Checkpoint keeps what a run needs to go on in a file of its folder. It belongs to one run: another config, other
// inputs or other options have another key.
type Checkpoint struct {
	Path string
	Key  string

	mu      sync.Mutex
	written time.Time
	made    time.Time
	text    []byte // of the state as it was then; nil: none, or the run is over
}

// Times between states that are kept in memory, for a run that does not stop by itself, and between writes.
const (
	checkpointKeep  = 2 * time.Second
	CheckpointEvery = 20 * time.Second
)

// maxCheckpoint is the size up to which a checkpoint is read.
const maxCheckpoint = 2 << 30

// CheckpointFile is what the file holds.
type CheckpointFile struct {
	Key   string          `json:"key"`
	Sum   string          `json:"sha256"`          // of all the rest
	Files []string        `json:"files,omitempty"` // that the run has written so far
	State json.RawMessage `json:"state"`
}

// sum is the checksum of the rest.
func (f CheckpointFile) sum() (string, error) {
	f.Sum = ""
	text, err := json.Marshal(f)
	return disk.SumOf(text), err
}

// NewCheckpoint is the checkpoint in dir of the run that the parts (config text, inputs, options, …) describe.
func NewCheckpoint(dir string, parts ...any) (*Checkpoint, error) {
	h := sha256.New()
	if err := json.NewEncoder(h).Encode(parts); err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	return &Checkpoint{Path: filepath.Join(dir, CheckpointName), Key: hex.EncodeToString(h.Sum(nil)), written: time.Now()}, nil
}

// ReadCheckpoint reads a checkpoint of whatever run. It returns nil where there is none, and where it is damaged; notice
// then says so.
func ReadCheckpoint(path string) (f *CheckpointFile, notice string, err error) {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, "", nil
	}
	data, err := disk.Read(path, maxCheckpoint)
	if err != nil {
		return nil, "", err
	}
	f = &CheckpointFile{}
	if err := json.Unmarshal(data, f); err != nil {
		return nil, Unreadable(path, term.JSONReason(err)), nil
	}
	switch sum, err := f.sum(); {
	case err != nil:
		return nil, Unreadable(path, term.JSONReason(err)), nil
	case f.Sum == "":
		return nil, Unreadable(path, "it has no checksum"), nil
	case f.Sum != sum:
		return nil, Unreadable(path, "its checksum is not that of its content"), nil
	}
	return f, "", nil
}

// Unreadable tells that a run cannot go on from a file.
func Unreadable(path, why string) string {
	return fmt.Sprintf("%s: cannot be read (%s): starting afresh", path, why)
}

// Load reads the state into v, which is of no use where it returns false: there is none, or a damaged one, or one of
// another run; notice then says so.
func (c *Checkpoint) Load(v any) (found bool, notice string, err error) {
	f, notice, err := ReadCheckpoint(c.Path)
	if f == nil {
		return false, notice, err
	}
	if f.Key != c.Key {
		return false, fmt.Sprintf("%s: belongs to a run with another config, input or option: starting afresh", c.Path), nil
	}
	if err := json.Unmarshal(f.State, v); err != nil {
		return false, Unreadable(c.Path, term.JSONReason(err)), nil
	}
	return true, "", nil
}

// Save writes v, and the names of the files that go with it, unless that was done a moment ago.
func (c *Checkpoint) Save(v any, files ...string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.made) < checkpointKeep {
		return nil
	}
	if err := c.keep(v, files); err != nil || time.Since(c.written) < CheckpointEvery {
		return err
	}
	return c.write()
}

// Force writes v, and the names of the files that go with it, atomically.
func (c *Checkpoint) Force(v any, files ...string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.keep(v, files); err != nil {
		return err
	}
	return c.write()
}

// last writes the state that was kept last, if the run is not over. It is for those who cannot ask the run.
func (c *Checkpoint) last() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.write()
}

// Stop is last and then the error of a run that has been stopped with its state saved.
func (c *Checkpoint) Stop(ctx context.Context) error {
	if err := c.last(); err != nil {
		return err
	}
	return StateSaved(ctx, c.Path, false)
}

func (c *Checkpoint) keep(v any, files []string) error {
	state, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("%s: %w", c.Path, err)
	}
	f := CheckpointFile{Key: c.Key, Files: files, State: state}
	if f.Sum, err = f.sum(); err != nil {
		return fmt.Errorf("%s: %w", c.Path, err)
	}
	if c.text, err = json.Marshal(f); err != nil {
		return fmt.Errorf("%s: %w", c.Path, err)
	}
	c.made = time.Now()
	return nil
}

func (c *Checkpoint) write() error {
	if c.text == nil {
		return nil
	}
	if err := WriteAtomic(c.Path, func(w io.Writer) error { _, err := w.Write(append(c.text, '\n')); return err }); err != nil {
		return err
	}
	c.written = time.Now()
	return nil
}

// Remove deletes the file once the run has its results.
func (c *Checkpoint) Remove() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.text = nil
	if err := os.Remove(c.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %s", c.Path, term.Reason(err))
	}
	return nil
}
