//go:build linux || darwin

package disk

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestALookAtAFolderIsInNobodysWay(t *testing.T) {
	dir := t.TempDir()
	if b := Working(dir); b != nil {
		t.Errorf("nobody: got %v", b)
	}
	release, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if b := Working(dir); b == nil || b.PID != os.Getpid() || b.Elsewhere {
		t.Errorf("this process: got %v", b)
	}
	release()
	if b := Working(dir); b != nil {
		t.Errorf("released: got %v", b)
	}
	me := self()
	for _, c := range []struct {
		owner Owner
		age   time.Duration
		alive bool
	}{
		{Owner{PID: 1 << 22, Host: me.Host}, 0, false},
		{Owner{PID: 1, Host: "elsewhere.example"}, time.Minute, true},
		{Owner{PID: 1, Host: "elsewhere.example"}, time.Hour, false},
		{Owner{PID: 1, Host: "elsewhere.example"}, -time.Hour, false},
	} {
		path := filepath.Join(dir, lockName)
		text, _ := json.Marshal(c.owner)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		when := time.Now().Add(-c.age)
		if err := os.Chtimes(path, when, when); err != nil {
			t.Fatal(err)
		}
		if b := Working(dir); (b != nil) != c.alive {
			t.Errorf("%+v, %v old: got %v, want alive %v", c.owner, c.age, b, c.alive)
		}
	}
}

func TestASumIsGivenUp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("abc"), 0o600); err != nil {
		t.Fatal(err)
	}
	// of "abc", from coreutils' sha256sum
	if sum, err := SumUntil(t.Context(), path, 3); err != nil || sum != "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" {
		t.Errorf("got %s, %v", sum, err)
	}
	if _, err := SumUntil(t.Context(), path, 2); err == nil || !strings.Contains(err.Error(), "found 3 bytes, ") {
		t.Errorf("got %v", err)
	}
	// a terabyte of zeros that takes no room
	if err := os.Truncate(path, 1<<40); err != nil {
		t.Skip(err)
	}
	told := errors.New("told to stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(100*time.Millisecond, func() { cancel(told) })
	begun := time.Now()
	if _, err := SumUntil(ctx, path, 1<<50); err != told || time.Since(begun) > 2*time.Second {
		t.Errorf("got %v after %v", err, time.Since(begun))
	}
}
