// Signal handlers within signal handlers, with an argument on a stack of their own.
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

static volatile unsigned long sink;

__attribute__((noinline)) static void burn(int n) {
    for (int i = 0; i < n; i++) sink += i * sink;
}

__attribute__((noinline)) static void deeper(int depth) {
    char block[64];
    memset(block, depth, sizeof block);
    if (depth) deeper(depth - 1);
    else burn(20000);
    sink += block[3];
}

static void inner(int number) {
    (void)number;
    deeper(3);
}

static void outer(int number) {
    (void)number;
    burn(10000);
    raise(SIGUSR2);
    deeper(2);
}

__attribute__((noinline)) static unsigned long work(int depth) {
    if (depth) return work(depth - 1) + 1;
    for (int i = 0; i < 200000; i++) sink += i % 7;
    return sink;
}

int main(int count, char **arguments) {
    int rounds = count > 1 ? atoi(arguments[1]) : 200, own_stack = count > 2;
    stack_t stack = {.ss_sp = malloc(1 << 16), .ss_size = 1 << 16};
    if (own_stack) sigaltstack(&stack, NULL);
    struct sigaction action = {.sa_handler = outer, .sa_flags = SA_RESTART | (own_stack ? SA_ONSTACK : 0)};
    sigaction(SIGALRM, &action, NULL);
    action.sa_handler = inner;
    sigaction(SIGUSR2, &action, NULL);
    // No multiple of a sampling period: in step with it, no handler would ever be sampled.
    struct itimerval timer = {{0, 377}, {0, 377}};
    setitimer(ITIMER_REAL, &timer, NULL);
    unsigned long sum = 0;
    for (int i = 0; i < rounds; i++) sum += work(5);
    printf("%lu\n", sum);
}
