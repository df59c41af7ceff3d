// Recursion of changing depth into qsort with a callback, printf and malloc; in main's thread and in another one.
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static volatile double sink;
static int rounds = 1000;

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    sink += sqrt(x);
    return (x > y) - (x < y);
}

__attribute__((noinline)) double leaf(int n) {
    double values[256];
    for (int i = 0; i < 256; i++) values[i] = (i * 7919 + n) % 1000;
    qsort(values, 256, 8, compare);
    return values[3];
}

__attribute__((noinline)) double recurse(int depth, int n) {
    char text[64];
    snprintf(text, sizeof text, "%d %f", depth, sin(n));
    if (depth == 0) return leaf(n) + strlen(text);
    double result = recurse(depth - 1, n + 1);
    return result + text[0];
}

static void *run(void *unused) {
    (void)unused;
    for (int i = 0; i < rounds; i++) {
        sink += recurse(i % 20, i);
        void *block = malloc(100 + i % 5000);
        memset(block, i, 100);
        free(block);
    }
    return NULL;
}

int main(int count, char **arguments) {
    pthread_t thread;
    if (count > 1) rounds = atoi(arguments[1]);
    pthread_create(&thread, NULL, run, NULL);
    run(NULL);
    pthread_join(thread, NULL);
    printf("%f\n", sink);
}
