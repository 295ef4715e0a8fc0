/* Loaded before libc (LD_PRELOAD): clocks that only go forward go FAST_CLOCK times as fast as they do, counted from the
   start of the process, so that a test sees in seconds what a program does in minutes. The time of day stays. What a
   program asks the kernel to wait for takes as long as it says, so its timers are late by that. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

static int (*real)(clockid_t, struct timespec *);
static struct timespec started[16];
static long rate;

__attribute__((constructor)) static void begin(void)
{
    real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    for (clockid_t clock = 0; clock < 16; clock++)
        real(clock, &started[clock]);
    rate = getenv("FAST_CLOCK") ? atol(getenv("FAST_CLOCK")) : 1;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    if (!real)
        begin();
    int failed = real(clock, now);
    if (failed || (clock != CLOCK_MONOTONIC && clock != CLOCK_MONOTONIC_RAW && clock != CLOCK_MONOTONIC_COARSE
                   && clock != CLOCK_BOOTTIME))
        return failed;
    long long passed = (now->tv_sec - started[clock].tv_sec) * 1000000000LL + now->tv_nsec - started[clock].tv_nsec;
    long long at = started[clock].tv_sec * 1000000000LL + started[clock].tv_nsec + passed * rate;
    now->tv_sec = at / 1000000000LL;
    now->tv_nsec = at % 1000000000LL;
    return 0;
}
