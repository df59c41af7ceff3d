/* Threads that want one spin lock and hold it for long: most of the time is spent turning. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static pthread_spinlock_t lock;
static volatile long counter;
static double until;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static __attribute__((noinline)) void hold(void) {
    for (int i = 0; i < 2000; i++) counter += i;
}

static void *worker(void *unused) {
    while (now() < until) {
        pthread_spin_lock(&lock);
        hold();
        pthread_spin_unlock(&lock);
    }
    return unused;
}

int main(int count, char **arguments) {
    pthread_t threads[4];
    until = now() + (count > 1 ? atof(arguments[1]) : 5);
    pthread_spin_init(&lock, PTHREAD_PROCESS_PRIVATE);
    puts("ready");
    fflush(stdout);
    for (int i = 0; i < 4; i++) pthread_create(&threads[i], 0, worker, 0);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], 0);
    return 0;
}
