/* A storm of system calls that do next to nothing. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static __attribute__((noinline)) void ask(void) {
    for (int i = 0; i < 1000; i++) syscall(SYS_getppid);
}

int main(int count, char **arguments) {
    double until = now() + (count > 1 ? atof(arguments[1]) : 5);
    puts("ready");
    fflush(stdout);
    while (now() < until) ask();
    return 0;
}
