package main

/*
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

// Go's runtime puts /dev/null in the place of a standard output that is closed, and what is written there is lost
// without an error. A file that is open for reading keeps that place, and writing to it fails (EBADF), as to a closed
// one.
__attribute__((constructor)) static void keep_output_closed(void) {
	if (fcntl(STDOUT_FILENO, F_GETFD) != -1 || errno != EBADF) {
		return;
	}
	int null = open("/dev/null", O_RDONLY);
	if (null != -1 && null != STDOUT_FILENO) {
		dup2(null, STDOUT_FILENO);
		close(null);
	}
}
*/
import "C"
