//go:build linux || darwin

package disk

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestMain lets the test program stand for another process that holds a folder.
func TestMain(m *testing.M) {
	if dir := os.Getenv("DISK_TEST_HOLD"); dir != "" {
		if _, err := Lock(dir); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("held")
		time.Sleep(time.Minute)
	}
	os.Exit(m.Run())
}

func TestFolderHasOneOwner(t *testing.T) {
	dir := t.TempDir()
	other := exec.Command(os.Args[0])
	other.Env = append(os.Environ(), "DISK_TEST_HOLD="+dir)
	out, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer other.Process.Kill()
	said := make([]byte, 5)
	if _, err := out.Read(said); err != nil || string(said[:4]) != "held" {
		t.Fatalf("got %q, %v", said, err)
	}
	var b *Busy
	if _, err := Lock(dir); !errors.As(err, &b) || b.PID != other.Process.Pid || b.Elsewhere {
		t.Fatalf("got %v, want that process %d is at work", err, other.Process.Pid)
	}
	// a killed owner is gone at once, although its file stays
	other.Process.Kill()
	other.Wait()
	release, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(dir); !errors.As(err, &b) || b.PID != os.Getpid() {
		t.Errorf("got %v", err)
	}
	release()
	if list, _ := os.ReadDir(dir); len(list) != 0 {
		t.Errorf("got %v", list)
	}
}

// An owner on another host is alive while it beats, by the clock of the files; times ahead or long past are no beats.
func TestOwnersOfOtherHosts(t *testing.T) {
	for _, c := range []struct {
		age  time.Duration
		busy bool
	}{{0, true}, {time.Minute, true}, {-time.Minute, true}, {10 * time.Minute, false}, {-5 * 365 * 24 * time.Hour, false}} {
		dir := t.TempDir()
		path := filepath.Join(dir, lockName)
		text, _ := json.Marshal(Owner{PID: os.Getpid(), Host: "elsewhere.example", Start: "1", Since: "2026-01-01T00:00:00Z"})
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		when := time.Now().Add(-c.age)
		if err := os.Chtimes(path, when, when); err != nil {
			t.Fatal(err)
		}
		release, err := Lock(dir)
		var b *Busy
		if errors.As(err, &b) != c.busy || c.busy && !b.Elsewhere {
			t.Errorf("%v old: got %v, want busy %v", c.age, err, c.busy)
		}
		if err == nil {
			release()
		}
	}
}

// Without locks of the system the process decides: one of this host that is gone, or has another start, holds nothing.
func TestOwnersWithoutSystemLocks(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), lockName))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	me := self()
	for _, c := range []struct {
		owner Owner
		alive bool
	}{
		{me, true}, {Owner{PID: me.PID, Host: me.Host, Start: me.Start + "1"}, me.Start == ""},
		{Owner{PID: 1 << 22, Host: me.Host}, false}, {Owner{}, false},
	} {
		if alive, _ := lives(f, c.owner, false); alive != c.alive {
			t.Errorf("%+v: got %v, want %v", c.owner, alive, c.alive)
		}
	}
}
