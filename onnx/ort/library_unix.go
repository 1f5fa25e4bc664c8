//go:build !windows

package ort

/*
#cgo LDFLAGS: -ldl
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>

// The head of onnxruntime's C interface: OrtApiBase, and two entries of the table of functions OrtApi, whose order
// never changes between releases.
typedef struct {
	void *const *(*get_api)(uint32_t version);
	const char *(*version)(void);
} api_base;

enum { get_available_providers = 125, release_available_providers = 126 };

static const api_base *base_of(void *handle) {
	const api_base *(*get)(void) = (const api_base *(*)(void))dlsym(handle, "OrtGetApiBase");
	return get ? get() : NULL;
}

static const char *version_of(const api_base *base) { return base->version(); }

static int providers_of(const api_base *base, uint32_t version, char ***list) {
	void *const *api = base->get_api(version);
	int n = 0;
	if (api == NULL || ((void *(*)(char ***, int *))api[get_available_providers])(list, &n) != NULL) return 0;
	return n;
}

static void release_providers(const api_base *base, uint32_t version, char **list, int n) {
	((void *(*)(char **, int))base->get_api(version)[release_available_providers])(list, n);
}

static const char *path_of(const api_base *base) {
	Dl_info info;
	return dladdr((const void *)base->version, &info) ? info.dli_fname : NULL;
}
*/
import "C"

import (
	"errors"
	"strings"
	"unsafe"
)

// probeLibrary loads the library at path and asks it who it is. A library that can be used stays loaded.
func probeLibrary(path string) (library, error) {
	cpath := C.CString(path)
	defer C.free(unsafe.Pointer(cpath))
	handle := C.dlopen(cpath, C.RTLD_LAZY|C.RTLD_LOCAL)
	if handle == nil {
		message := C.GoString(C.dlerror())
		return library{}, errors.New("cannot be loaded: " + strings.TrimPrefix(message, path+": "))
	}
	base := C.base_of(handle)
	if base == nil {
		C.dlclose(handle)
		return library{}, errors.New("is not an onnxruntime library: it has no OrtGetApiBase")
	}
	lib := library{path: path, version: C.GoString(C.version_of(base))}
	if err := checkVersion(lib.version); err != nil {
		C.dlclose(handle)
		return library{}, err
	}
	if p := C.path_of(base); p != nil {
		lib.path = C.GoString(p)
	}
	var list **C.char
	if n := C.providers_of(base, minAPI, &list); n > 0 {
		for _, p := range unsafe.Slice(list, int(n)) {
			lib.providers = append(lib.providers, C.GoString(p))
		}
		C.release_providers(base, minAPI, list, n)
	}
	return lib, nil
}
