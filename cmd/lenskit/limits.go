//go:build cgo && (linux || darwin || freebsd)

package main

// The Go runtime gives up with the stacks of all its threads where the shell or the batch system leaves it too few files or
// too little address space, before the first line of Go runs. What follows is run by the loader, before that.

/*
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#define LEAST_FILES 16
#define LEAST_ADDRESS 2500000000ULL // bytes: Go and onnxruntime reserve far more than they use

__attribute__((constructor)) static void check_limits(void) {
	struct rlimit l;
	if (getrlimit(RLIMIT_NOFILE, &l) == 0 && l.rlim_cur != RLIM_INFINITY && l.rlim_cur < LEAST_FILES) {
		fprintf(stderr, "lenskit: limit of open files (ulimit -n): found %llu, expected at least %d\n",
			(unsigned long long)l.rlim_cur, LEAST_FILES);
		_exit(2);
	}
	if (getrlimit(RLIMIT_AS, &l) == 0 && l.rlim_cur != RLIM_INFINITY && l.rlim_cur < LEAST_ADDRESS) {
		fprintf(stderr, "lenskit: limit of address space (ulimit -v): found %llu kB, expected at least %llu kB, most of it only reserved\n",
			(unsigned long long)l.rlim_cur / 1024, LEAST_ADDRESS / 1024);
		_exit(2);
	}
}
*/
import "C"
