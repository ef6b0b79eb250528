/* DPDK's rte_hash with the keys of the bench `table`, for comparison: bulks of 32, the session's memory asked for ahead.
 *
 *     rte_hash SESSIONS CLOCK-GHZ    prints a row as the benches do (src/results.rs); its windows do not count by themselves
 *
 * In C, because it is a peer and no part of natgate; nothing is linked with it. It runs where libdpdk is, by scripts/bench.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#include <rte_eal.h>
#include <rte_hash.h>
#include <rte_hash_crc.h>
#include <rte_memory.h>
#include <rte_prefetch.h>

enum { BURST = 32, LOOKUPS = 1 << 18, WINDOWS = 15 };

struct key { uint64_t words[2]; };
struct session { uint64_t words[8]; };

/* As in src/run/table.rs. */
static struct key key_of(uint32_t number) {
    return (struct key){{0x0a000000c0000201 + ((uint64_t)(number >> 10) << 32), (uint64_t)(number & 1023) << 32 | 0x00350011}};
}

static uint64_t state = 1;
static uint32_t below(uint32_t end) {
    uint64_t mixed = state += 0x9e3779b97f4a7c15;
    mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111eb;
    return (uint32_t)(((unsigned __int128)(mixed ^ mixed >> 31) * end) >> 64);
}

static double nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1e9 + now.tv_nsec;
}

static int rising(const void *a, const void *b) {
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

/* Huge pages where the kernel has them, as natgate's table has, without a mount of them. */
static int in_huge_pages(const struct rte_memseg_list *list, const struct rte_memseg *segment, size_t bytes, void *none) {
    (void)list, (void)none;
    madvise(segment->addr, bytes, MADV_HUGEPAGE);
    return 0;
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: rte_hash SESSIONS CLOCK-GHZ\n");
        return 2;
    }
    uint32_t sessions = (uint32_t)strtoul(argv[1], NULL, 10), keys = 2 * sessions, refused = 0;
    double clock_ghz = strtod(argv[2], NULL);
    char memory[32];
    snprintf(memory, sizeof memory, "%" PRIu32, 512 + keys / 16384);
    char *eal[] = {argv[0], "--no-pci", "--no-huge", "--no-shconf", "--no-telemetry", "--log-level=4", "--lcores=0", "-m", memory, NULL};
    if (rte_eal_init(9, eal) < 0) {
        fprintf(stderr, "rte_hash: DPDK does not start\n");
        return 1;
    }
    rte_memseg_contig_walk(in_huge_pages, NULL);
    struct rte_hash_parameters parameters = {.name = "sessions", .entries = keys, .key_len = sizeof(struct key), .hash_func = rte_hash_crc};
    struct rte_hash *hash = rte_hash_create(&parameters);
    size_t bytes = sizeof(struct session) * keys;
    struct session *values = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (hash == NULL || values == MAP_FAILED) {
        fprintf(stderr, "rte_hash: no memory for %" PRIu32 " keys\n", keys);
        return 1;
    }
    madvise(values, bytes, MADV_HUGEPAGE);
    for (uint32_t number = 0; number < keys; number++)
        values[number].words[0] = 1;
    double start = nanoseconds();
    for (uint32_t number = 0; number < keys; number++) {
        struct key key = key_of(number);
        refused += rte_hash_add_key_data(hash, &key, &values[number]) != 0;
    }
    double inserted = (nanoseconds() - start) / sessions;

    struct key *trace = malloc(sizeof *trace * LOOKUPS);
    double spent[WINDOWS];
    for (int window = 0; window < WINDOWS; window++) {
        for (int at = 0; at < LOOKUPS; at++)
            trace[at] = key_of(below(keys));
        uint64_t sum = 0;
        start = nanoseconds();
        for (int at = 0; at < LOOKUPS; at += BURST) {
            const void *sought[BURST];
            void *found[BURST];
            uint64_t hits;
            for (int one = 0; one < BURST; one++)
                sought[one] = &trace[at + one];
            rte_hash_lookup_bulk_data(hash, sought, BURST, &hits, found);
            for (int one = 0; one < BURST; one++)
                if (hits >> one & 1)
                    rte_prefetch0(found[one]);
            for (int one = 0; one < BURST; one++)
                if (hits >> one & 1)
                    sum += ((struct session *)found[one])->words[0];
        }
        spent[window] = (nanoseconds() - start) / LOOKUPS * clock_ghz;
        if (refused == 0 && sum != LOOKUPS) {
            fprintf(stderr, "rte_hash: %" PRIu64 " of %d keys were found\n", sum, LOOKUPS);
            return 1;
        }
    }
    qsort(spent, WINDOWS, sizeof *spent, rising);
    printf("{\"bench\":\"table\",\"row\":\"%" PRIu32 " sessions: a key found in a burst by rte_hash\",\"unit\":\"clocks\",\"goal\":null,"
           "\"value\":null,\"least\":null,\"most\":null,\"windows\":%d,\"counted\":0,"
           "\"note\":\"a peer: which windows are quiet is not looked at\","
           "\"extra\":{\"all_windows\":{\"least\":%.1f,\"median\":%.1f,\"most\":%.1f},\"inserted, a session\":%.1f,\"refused\":%" PRIu32 "}}\n",
           sessions, WINDOWS, spent[0], spent[WINDOWS / 2], spent[WINDOWS - 1], inserted * clock_ghz, refused);
    return 0;
}
