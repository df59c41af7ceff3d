/* A mutex convoy: threads that each take and give back one mutex all the time, and do little else. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static volatile long counter;
static double until;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static __attribute__((noinline)) void push(void) {
    pthread_mutex_lock(&lock);
    for (int i = 0; i < 100; i++) counter += i;
    pthread_mutex_unlock(&lock);
}

static void *worker(void *unused) {
    while (now() < until)
        for (int i = 0; i < 100; i++) push();
    return unused;
}

int main(int count, char **arguments) {
    pthread_t threads[8];
    until = now() + (count > 1 ? atof(arguments[1]) : 5);
    puts("ready");
    fflush(stdout);
    for (int i = 0; i < 8; i++) pthread_create(&threads[i], 0, worker, 0);
    for (int i = 0; i < 8; i++) pthread_join(threads[i], 0);
    return 0;
}
