package main

/*
#include <malloc.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

// What Go's runtime and glibc's threads reserve of the address space before any of strata runs, in bytes. With 1.4 GB
// (ulimit -v 1400000) they fail on two cores, with a traceback, which nothing in Go can catch.
#define NEEDED 2000000000ul

__attribute__((constructor)) static void check_address_space(void) {
	struct rlimit limit;
	if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) {
		return;
	}
#ifdef M_ARENA_MAX
	mallopt(M_ARENA_MAX, 1); // otherwise each thread reserves 64 MiB
#endif
	if (limit.rlim_cur >= NEEDED) {
		return;
	}
	fprintf(stderr, "strata: the limit of the address space is %lu kB, and strata needs %lu kB, most of which it only reserves; "
		"raise it, for instance with: ulimit -v unlimited\n", (unsigned long)limit.rlim_cur / 1024, NEEDED / 1024);
	_exit(1);
}

// Fewer open files than FILES do not suffice for what Go's runtime and a library for FUSE open before any of strata
// runs. The library panics then.
#define FILES 16

__attribute__((constructor)) static void check_open_files(void) {
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < FILES) {
		fprintf(stderr, "strata: the limit of open files is %lu; this process may open too few files; "
			"raise the limit, for instance with: ulimit -n 1024\n", (unsigned long)limit.rlim_cur);
		_exit(1);
	}
}
*/
import "C"
