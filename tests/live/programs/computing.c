/* Nothing but arithmetic: no pattern is to be found here. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static volatile double result;

static __attribute__((noinline)) void multiply(void) {
    double x = 1.0000001;
    for (int i = 0; i < 100000; i++) x = x * 1.0000001 + 1e-9;
    result = x;
}

static __attribute__((noinline)) void divide(void) {
    double x = 1e9;
    for (int i = 0; i < 20000; i++) x = x / 1.0000001;
    result = x;
}

int main(int count, char **arguments) {
    double until = now() + (count > 1 ? atof(arguments[1]) : 5);
    puts("ready");
    fflush(stdout);
    while (now() < until) {
        multiply();
        divide();
    }
    return 0;
}
