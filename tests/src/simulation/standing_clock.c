/* The machine's clock stands still in the threads of simulated runs: a library that reads it (h2 forgets streams that were
 * reset a second ago) would else do one thing on a fast machine and another on a slow one, and a seed would be two runs.
 *
 * Linked into the simulation alone, where it stands before the C library's function of the same name. Virtual time is not
 * touched: turmoil and tokio count that themselves. Other threads, as the one that gives up on a run that does not end, see
 * the real clock. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

/* How the threads of runs are called: see world.rs. */
static const char RUN[] = "seed-";

/* 2026-01-01T00:00:00Z, in seconds; see world.rs. */
static const time_t STANDS_AT = 1767225600;

typedef int (*reading)(clockid_t, struct timespec *);

static int is_run(void) {
    char name[16] = "";
    return prctl(PR_GET_NAME, name) == 0 && strncmp(name, RUN, sizeof(RUN) - 1) == 0;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    static _Thread_local int stands = -1;
    static _Thread_local reading real;
    if (stands < 0) {
        stands = is_run();
        real = (reading)dlsym(RTLD_NEXT, "clock_gettime");
    }
    if (!stands) return real(clock, now);
    now->tv_sec = STANDS_AT;
    now->tv_nsec = 0;
    return 0;
}
