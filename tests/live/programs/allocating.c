/* Hammers the allocator: blocks of many sizes, asked for and given back in another order. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define BLOCKS 4096

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static __attribute__((noinline)) void build(void **blocks, unsigned *state) {
    for (int i = 0; i < BLOCKS; i++) {
        *state = *state * 1103515245 + 12345;
        unsigned slot = (*state >> 8) % BLOCKS;
        free(blocks[slot]);
        blocks[slot] = malloc(16 + (*state >> 12) % 3000);
    }
}

int main(int count, char **arguments) {
    static void *blocks[BLOCKS];
    unsigned state = 1;
    double until = now() + (count > 1 ? atof(arguments[1]) : 5);
    puts("ready");
    fflush(stdout);
    while (now() < until) build(blocks, &state);
    return 0;
}
