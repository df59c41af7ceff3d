// Little but calls through the procedure linkage table, some of indirect functions; and the vDSO.
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int main(int count, char **arguments) {
    long rounds = count > 1 ? atol(arguments[1]) : 1000000, sum = 0;
    char from[32] = "hello world", to[32];
    double number = 0;
    for (long i = 0; i < rounds; i++) {
        sum += abs((int)labs(i));
        sum += strlen(from + i % 5);
        memcpy(to, from, 8 + i % 8);
        sum += toupper(from[i % 8]);
        number += floor(i * .5) + ceil(number * .1);
        sum += memcmp(from, to, 4) + strcmp(from, to);
        if (i % 16 == 0) {
            struct timespec now;
            clock_gettime(CLOCK_MONOTONIC, &now);
            sum += now.tv_nsec & 1;
        }
    }
    printf("%ld %f\n", sum, number);
}
