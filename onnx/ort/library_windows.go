package ort

import (
	"errors"
	"syscall"
	"unsafe"
)

// probeLibrary loads the library at path and asks it who it is. A library that can be used stays loaded.
func probeLibrary(path string) (library, error) {
	handle, err := syscall.LoadLibrary(path)
	if err != nil {
		return library{}, errors.New("cannot be loaded: " + err.Error())
	}
	proc, err := syscall.GetProcAddress(handle, "OrtGetApiBase")
	if err != nil {
		syscall.FreeLibrary(handle)
		return library{}, errors.New("is not an onnxruntime library: it has no OrtGetApiBase")
	}
	// OrtApiBase and two entries of the table of functions OrtApi, whose order never changes between releases.
	type apiBase struct{ getAPI, version uintptr }
	const getAvailableProviders, releaseAvailableProviders = 125, 126
	base := *(**apiBase)(unsafe.Pointer(&[1]uintptr{invoke(proc)}))
	lib := library{path: path, version: cString(invoke(base.version))}
	if err := checkVersion(lib.version); err != nil {
		syscall.FreeLibrary(handle)
		return library{}, err
	}
	var list *[1 << 10]uintptr
	var n int32
	table := invoke(base.getAPI, minAPI)
	api := *(**[256]uintptr)(unsafe.Pointer(&table))
	if api != nil && invoke(api[getAvailableProviders], uintptr(unsafe.Pointer(&list)), uintptr(unsafe.Pointer(&n))) == 0 && list != nil {
		for _, p := range list[:min(int(n), len(list))] {
			lib.providers = append(lib.providers, cString(p))
		}
		invoke(api[releaseAvailableProviders], uintptr(unsafe.Pointer(list)), uintptr(n))
	}
	return lib, nil
}

func invoke(proc uintptr, args ...uintptr) uintptr {
	r, _, _ := syscall.SyscallN(proc, args...)
	return r
}

// cString copies a C string.
func cString(p uintptr) string {
	if p == 0 {
		return ""
	}
	s := *(**byte)(unsafe.Pointer(&p))
	n := 0
	for *(*byte)(unsafe.Add(unsafe.Pointer(s), n)) != 0 {
		n++
	}
	return string(unsafe.Slice(s, n))
}
