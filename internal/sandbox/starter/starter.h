// The form of a program, which starter.go writes and starter.c runs. All of it lies in one block of memory: this head, the calls, the
// places to relocate (8 bytes each), the data. Where a pointer belongs, an offset into the block stands.
#include <stdint.h>

#define STARTER_TOLERATED 4

struct starter_head {
	uint32_t calls, relocations;
};

struct starter_call {
	int32_t number;     // of the system call; STARTER_WAIT for what is none
	uint32_t last;      // a bit for each argument that is the result of the call before
	int32_t skip;       // how many calls are left out after this one has succeeded
	int32_t tolerated[STARTER_TOLERATED]; // errors that are none; 0 for none
	int32_t padding;
	uint64_t arguments[6];
};

#define STARTER_WAIT (-1) // say that all is ready, and wait for a byte; without one the process ends

// What is asked for on the control socket: flags of clone(2), and which of the descriptors that come along is the directory of a cgroup of
// version 2; 0 for none.
struct starter_request {
	uint64_t flags, cgroup;
};

// What is said on the control socket.
struct starter_event {
	int32_t kind, pid, status;
};

#define STARTER_STARTED 1 // pid has started, a descriptor of it comes along; or pid is 0 and status an errno
#define STARTER_ENDED 2   // pid has ended with a status as of waitpid(2)

// What is said in a conversation: which call failed, and why; or, with no error, which one waits.
struct starter_failure {
	int32_t call, error;
};

#ifndef SYS_clone3
#define SYS_clone3 435
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif

#define STARTER_ENVIRONMENT "_STRATA_STARTER"
#define STARTER_DESCRIPTORS 16
