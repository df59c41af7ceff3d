/* Counts the distinct words of a text: case folded, hashed (FNV-1a), in a table with open addressing. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS 8192

__attribute__((noinline)) static unsigned char fold(unsigned char one)
{
    return one >= 'A' && one <= 'Z' ? (unsigned char)(one | 32) : one;
}

__attribute__((noinline)) static uint32_t hash_word(const unsigned char *word, size_t length)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ word[i]) * 16777619u;
    return hash;
}

__attribute__((noinline)) static int insert(uint32_t *table, uint32_t hash)
{
    for (uint32_t at = hash % SLOTS;; at = (at + 1) % SLOTS) {
        if (table[at] == hash)
            return 0;
        if (!table[at]) {
            table[at] = hash;
            return 1;
        }
    }
}

int count_words(const unsigned char *text, size_t length)
{
    unsigned char word[256];
    uint32_t *table = calloc(SLOTS, sizeof *table);
    int found = 0;
    size_t used = 0;
    for (size_t i = 0; i <= length; i++) {
        if (i < length && text[i] != ' ' && used < sizeof word) {
            word[used++] = fold(text[i]);
        } else if (used) {
            found += insert(table, hash_word(word, used) | 1);
            used = 0;
        }
    }
    free(table);
    return found;
}
