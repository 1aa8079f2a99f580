// A process enters a user name space of its own before Go's runtime starts, since only a process with one thread can
// (unshare(2)). It stays the same process: signals, terminal, streams and exit code need nobody to pass them on.
//
// The environment says what to do, and is cleared of it at once:
//   _STRATA_USERNS   enter: become root there and go on; probe: the same, see whether that is of use, and end;
//                    mounts: stay in the user name space, and get mounts that are its own
//   _STRATA_UIDMAP, _STRATA_GIDMAP   the arguments of newuidmap and newgidmap after the process number
//   _STRATA_NEWUIDMAP, _STRATA_NEWGIDMAP   their paths; empty: the maps are written by a process outside, which has the
//                    right to; self: this process writes them, as any may that maps one ID
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

// MAX_WORDS bounds the arguments of newuidmap; the kernel takes 340 lines of three numbers.
#define MAX_WORDS 1100

// strata_userns_entered says that this process has entered a name space of its own: 2 if root did, 1 another user.
int strata_userns_entered;

static void fail(const char *what) {
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	_exit(125);
}

// run runs a program with the process number and the words of map as its arguments. It is in a child of ours.
static int run(const char *program, pid_t pid, char *map) {
	char number[32];
	char *argv[MAX_WORDS + 3];
	int n = 0;
	snprintf(number, sizeof number, "%d", (int)pid);
	argv[n++] = (char *)program;
	argv[n++] = number;
	for (char *word = strtok(map, " "); word != NULL && n < MAX_WORDS; word = strtok(NULL, " "))
		argv[n++] = word;
	argv[n] = NULL;
	pid_t child = fork();
	if (child < 0)
		fail("fork");
	if (child == 0) {
		char *env[] = {NULL};
		execve(program, argv, env);
		fail(program);
	}
	int status;
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return 1;
	return status;
}

static int write_file(const char *path, const char *text) {
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ssize_t n = write(fd, text, strlen(text));
	int failure = errno;
	close(fd);
	errno = failure;
	return n == (ssize_t)strlen(text) ? 0 : -1;
}

// map_from_outside writes the maps of a process.
static int map_from_outside(pid_t pid, const char *uids, const char *gids) {
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/uid_map", (int)pid);
	if (write_file(path, uids) != 0)
		fail("writing uid_map");
	snprintf(path, sizeof path, "/proc/%d/gid_map", (int)pid);
	if (write_file(path, gids) != 0)
		fail("writing gid_map");
	return 0;
}

// unshare_and_map has a child map the IDs as soon as this process has unshared: newuidmap and newgidmap are set-user-ID, and
// root's own rights are those over the name space outside, so that both have to be used from there.
static void unshare_and_map(char *uids, char *gids, const char *newuidmap, const char *newgidmap) {
	int ready[2];
	pid_t self = getpid();
	if (pipe2(ready, O_CLOEXEC) != 0)
		fail("pipe");
	pid_t helper = fork();
	if (helper < 0)
		fail("fork");
	if (helper == 0) {
		char byte;
		prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
		close(ready[1]);
		if (read(ready[0], &byte, 1) != 1)
			_exit(1);
		if (*newuidmap == '\0')
			_exit(map_from_outside(self, uids, gids));
		if (run(newuidmap, self, uids) != 0 || run(newgidmap, self, gids) != 0)
			_exit(1);
		_exit(0);
	}
	close(ready[0]);
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
		fail("unshare");
	if (write(ready[1], "x", 1) != 1)
		fail("write");
	close(ready[1]);
	int status;
	while (waitpid(helper, &status, 0) < 0)
		if (errno != EINTR)
			fail("waitpid");
	if (status != 0) {
		fprintf(stderr, "the user name space's IDs cannot be mapped\n");
		_exit(125);
	}
}

// unshare_alone maps the user to root, and nobody else. A group may be mapped that way only by who gives up setgroups(2).
static void unshare_alone(const char *uids, const char *gids) {
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
		fail("unshare");
	if (write_file("/proc/self/setgroups", "deny") != 0)
		fail("writing setgroups");
	if (write_file("/proc/self/uid_map", uids) != 0)
		fail("writing uid_map");
	if (write_file("/proc/self/gid_map", gids) != 0)
		fail("writing gid_map");
}

// try_mount sees whether the name space is of use: AppArmor may let a process make one that has no rights in it.
static void try_mount(void) {
	if (mount("tmpfs", "/", "tmpfs", MS_NOSUID | MS_NODEV, NULL) != 0)
		fail("mounting in the name space");
}

__attribute__((constructor)) static void strata_userns(void) {
	char *what = getenv("_STRATA_USERNS");
	char *uids = getenv("_STRATA_UIDMAP"), *gids = getenv("_STRATA_GIDMAP");
	char *newuidmap = getenv("_STRATA_NEWUIDMAP"), *newgidmap = getenv("_STRATA_NEWGIDMAP");
	if (what != NULL && strcmp(what, "mounts") == 0) {
		unsetenv("_STRATA_USERNS");
		if (unshare(CLONE_NEWNS) != 0)
			fail("unshare");
		return;
	}
	if (what == NULL || uids == NULL || gids == NULL || newuidmap == NULL || newgidmap == NULL)
		return;
	int probe = strcmp(what, "probe") == 0, by_root = *newuidmap == '\0';
	if (probe)
		prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (strcmp(newuidmap, "self") == 0)
		unshare_alone(uids, gids);
	else
		unshare_and_map(uids, gids, newuidmap, newgidmap);
	if (geteuid() != 0 || getegid() != 0) {
		fprintf(stderr, "the name space's root is another user\n");
		_exit(125);
	}
	if (probe) {
		try_mount();
		_exit(0);
	}
	unsetenv("_STRATA_USERNS");
	unsetenv("_STRATA_UIDMAP");
	unsetenv("_STRATA_GIDMAP");
	unsetenv("_STRATA_NEWUIDMAP");
	unsetenv("_STRATA_NEWGIDMAP");
	strata_userns_entered = by_root ? 2 : 1;
}
