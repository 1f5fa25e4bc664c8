package tools

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// checkpoint keeps what a run needs to go on in a file of its folder. It belongs to one run: another config, other
// inputs or other options have another key.
type checkpoint struct {
	path string
	key  string
	last time.Time
}

// checkpointEvery is the time between writes.
const checkpointEvery = 20 * time.Second

// checkpointFile is what the file holds.
type checkpointFile struct {
	Key   string          `json:"key"`
	State json.RawMessage `json:"state"`
}

// newCheckpoint is the checkpoint in dir of the run that the parts (config text, inputs, options, …) describe.
func newCheckpoint(dir string, parts ...any) (*checkpoint, error) {
	h := sha256.New()
	if err := json.NewEncoder(h).Encode(parts); err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	return &checkpoint{path: filepath.Join(dir, fileCheckpoint), key: hex.EncodeToString(h.Sum(nil)), last: time.Now()}, nil
}

// load reads the state into v. It returns false where there is none, or one of another run; notice then says so.
func (c *checkpoint) load(v any) (found bool, notice string, err error) {
	data, err := os.ReadFile(c.path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, "", nil
	}
	if err != nil {
		return false, "", badInput("%s: %s", c.path, reason(err))
	}
	var f checkpointFile
	if err := json.Unmarshal(data, &f); err != nil {
		return false, fmt.Sprintf("%s: cannot be read (%s): starting afresh", c.path, jsonReason(err)), nil
	}
	if f.Key != c.key {
		return false, fmt.Sprintf("%s: belongs to a run with another config, input or option: starting afresh", c.path), nil
	}
	if err := json.Unmarshal(f.State, v); err != nil {
		return false, fmt.Sprintf("%s: cannot be read (%s): starting afresh", c.path, jsonReason(err)), nil
	}
	return true, "", nil
}

// save writes v unless that was done a moment ago.
func (c *checkpoint) save(v any) error {
	if time.Since(c.last) < checkpointEvery {
		return nil
	}
	return c.force(v)
}

// force writes v, atomically.
func (c *checkpoint) force(v any) error {
	state, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("%s: %w", c.path, err)
	}
	if err := writeJSON(c.path, checkpointFile{c.key, state}); err != nil {
		return err
	}
	c.last = time.Now()
	return nil
}

// remove deletes the file once the run has its results.
func (c *checkpoint) remove() error {
	if err := os.Remove(c.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %s", c.path, reason(err))
	}
	return nil
}
