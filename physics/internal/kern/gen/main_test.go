package main

import (
	"bytes"
	"os"
	"testing"
)

func TestAssemblyIsWhatTheGeneratorWrites(t *testing.T) {
	got, err := os.ReadFile("../kern_amd64.s")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, generate()) {
		t.Error("kern_amd64.s differs from what gen writes: run go generate in its folder")
	}
}
