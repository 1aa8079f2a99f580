// The starter: see starter.go. It runs before Go's runtime starts, and in its place. A Go program cannot fork, and starting it takes
// longer than all that is done here.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "starter.h"

#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x1000
#endif
#define INTO_CGROUP 0x200000000ULL // CLONE_INTO_CGROUP of linux/sched.h

enum { control = 3, conversation = 3, failed = 125 };

static int read_all(int fd, void *to, size_t size)
{
	for (char *at = to; size > 0;) {
		ssize_t n = read(fd, at, size);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		at += n;
		size -= n;
	}
	return 0;
}

static int tolerates(const struct starter_call *call, int error)
{
	for (int i = 0; i < STARTER_TOLERATED; i++)
		if (call->tolerated[i] == error)
			return 1;
	return 0;
}

// run makes the calls of a program one after the other. It returns when one fails.
static struct starter_failure run(char *block)
{
	struct starter_head *head = (void *)block;
	struct starter_call *calls = (void *)(head + 1);
	uint64_t *places = (void *)(calls + head->calls);
	for (uint32_t i = 0; i < head->relocations; i++)
		*(uint64_t *)(block + places[i]) += (uint64_t)(uintptr_t)block;

	long last = 0;
	for (uint32_t i = 0; i < head->calls; i++) {
		struct starter_call *call = &calls[i];
		if (call->number == STARTER_WAIT) {
			struct starter_failure none = { (int32_t)i, 0 };
			char byte;
			if (write(conversation, &none, sizeof none) < 0 || read_all(conversation, &byte, 1) < 0)
				_exit(failed);
			continue;
		}
		long a[6];
		for (int k = 0; k < 6; k++)
			a[k] = call->last >> k & 1 ? last : (long)call->arguments[k];
		last = syscall(call->number, a[0], a[1], a[2], a[3], a[4], a[5]);
		if (last >= 0)
			i += call->skip;
		else if (!tolerates(call, errno))
			return (struct starter_failure){ (int32_t)i, errno };
	}
	return (struct starter_failure){ (int32_t)head->calls, 0 };
}

// arrange gives the descriptors the numbers from 0 on and closes all others. The first three stay open in the program.
static int arrange(int *fds, int count)
{
	for (int i = 0; i < count; i++)
		if ((fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 2 * STARTER_DESCRIPTORS)) < 0)
			return -1;
	for (int i = 0; i < count; i++)
		if (dup3(fds[i], i, i < 3 ? 0 : O_CLOEXEC) < 0)
			return -1;
	return syscall(SYS_close_range, count, ~0U, 0);
}

// become is the whole of a container's first process before its program.
static void become(int *fds, int count)
{
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	// A starter that had ended before took the builder's end of the conversation with it, so that reading it ends.
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	struct starter_failure failure = { -1, 0 };
	uint32_t size;
	if (arrange(fds, count) < 0) {
		failure.error = errno;
	} else if (read_all(conversation, &size, sizeof size) == 0) {
		char *block = malloc(size);
		if (block == NULL)
			failure.error = ENOMEM;
		else if (read_all(conversation, block, size) == 0)
			failure = run(block);
	}
	ssize_t ignored = write(conversation, &failure, sizeof failure);
	(void)ignored;
	_exit(failed);
}

static void tell(struct starter_event event, int fd)
{
	char space[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec part = { &event, sizeof event };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
	if (fd >= 0) {
		message.msg_control = space;
		message.msg_controllen = sizeof space;
		struct cmsghdr *head = CMSG_FIRSTHDR(&message);
		head->cmsg_level = SOL_SOCKET;
		head->cmsg_type = SCM_RIGHTS;
		head->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(head), &fd, sizeof fd);
	}
	while (sendmsg(control, &message, MSG_NOSIGNAL) < 0 && errno == EINTR)
		;
}

// clone_process is fork(2) with flags of clone(2), into a cgroup of version 2 where one is given. fd becomes a descriptor of the process.
// To be in the cgroup from the beginning spares the kernel a grace period of RCU, some 10 ms, which moving a process into it takes.
static long clone_process(uint64_t flags, int cgroup, int *fd)
{
	if (cgroup < 0)
		return syscall(SYS_clone, flags | CLONE_PIDFD | SIGCHLD, NULL, fd, NULL, NULL);
	struct {
		uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
	} args = { .flags = flags | CLONE_PIDFD | INTO_CGROUP, .pidfd = (uint64_t)(uintptr_t)fd, .exit_signal = SIGCHLD, .cgroup = cgroup };
	return syscall(SYS_clone3, &args, sizeof args);
}

// start starts a process as the builder asks. It is the end of the starter when the builder is gone.
static void start(void)
{
	struct starter_request request = { 0 };
	char space[CMSG_SPACE(STARTER_DESCRIPTORS * sizeof(int))];
	struct iovec part = { &request, sizeof request };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space };
	ssize_t n = recvmsg(control, &message, MSG_CMSG_CLOEXEC);
	if (n < 0 && errno == EINTR)
		return;
	if (n <= 0)
		_exit(0);
	int fds[STARTER_DESCRIPTORS], count = 0;
	for (struct cmsghdr *head = CMSG_FIRSTHDR(&message); head != NULL; head = CMSG_NXTHDR(&message, head)) {
		if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS)
			continue;
		count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(fds, CMSG_DATA(head), count * sizeof(int));
	}
	// The cgroup's is the last, and not the process's.
	int fd = -1, own = request.cgroup > 0 && request.cgroup < (uint64_t)count ? (int)request.cgroup : count;
	long pid = clone_process(request.flags, own < count ? fds[own] : -1, &fd);
	if (pid == 0)
		become(fds, own);
	struct starter_event event = { STARTER_STARTED, pid > 0 ? pid : 0, pid > 0 ? 0 : errno };
	tell(event, pid > 0 ? fd : -1);
	for (int i = 0; i < count; i++)
		close(fds[i]);
	if (pid > 0)
		close(fd);
}

static void reap(void)
{
	int status;
	pid_t pid;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		tell((struct starter_event){ STARTER_ENDED, pid, status }, -1);
}

// serve starts processes and tells of their ends, until the builder is gone. What still runs then gets the parent death signal.
static void serve(void)
{
	sigset_t ends;
	sigemptyset(&ends);
	sigaddset(&ends, SIGCHLD);
	// What ends a terminal's or a service's processes is for the builder to decide on.
	sigset_t blocked = ends;
	sigaddset(&blocked, SIGINT);
	sigaddset(&blocked, SIGTERM);
	sigaddset(&blocked, SIGHUP);
	sigaddset(&blocked, SIGQUIT);
	sigprocmask(SIG_SETMASK, &blocked, NULL);
	int signals = signalfd(-1, &ends, SFD_CLOEXEC);
	if (signals < 0 || fcntl(control, F_SETFD, FD_CLOEXEC) < 0)
		_exit(failed);
	struct pollfd sources[] = { { control, POLLIN, 0 }, { signals, POLLIN, 0 } };
	for (;;) {
		if (poll(sources, 2, -1) < 0) {
			if (errno == EINTR)
				continue;
			_exit(failed);
		}
		if (sources[1].revents) {
			struct signalfd_siginfo info;
			ssize_t ignored = read(signals, &info, sizeof info);
			(void)ignored;
			reap();
		}
		if (sources[0].revents)
			start();
	}
}

__attribute__((constructor)) static void starter(void)
{
	if (getenv(STARTER_ENVIRONMENT) != NULL)
		serve();
}
