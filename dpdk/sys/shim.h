/*
 * What of DPDK cannot be called from Rust as it stands: inline functions, thread-local variables, macros, and
 * bit-fields whose layout differs between releases.
 *
 * Nothing here is called once per received or forwarded frame: a burst goes through rte_eth_fp_ops, which Rust reads
 * itself, and a frame's bytes are reached through the view in mbuf.rs.
 */
#ifndef DPDK_SYS_SHIM_H
#define DPDK_SYS_SHIM_H

#include <stdint.h>

struct rte_mbuf;
struct rte_mempool;

/* A link as it is now, without waiting. */
struct dpdk_sys_link {
	uint32_t speed_mbps; /* 0 where it is unknown */
	uint8_t up;
};

/* rte_errno of the calling thread (thread-local). */
int dpdk_sys_errno(void);

/* An empty mbuf, or null where the pool is empty (inline). */
struct rte_mbuf *dpdk_sys_mbuf_allocate(struct rte_mempool *pool);

/* Frees all segments of one mbuf (inline). */
void dpdk_sys_mbuf_free(struct rte_mbuf *mbuf);

/* rte_eth_link_get_nowait, its bit-fields spelt out; 0 or a negative errno. */
int dpdk_sys_link_get(uint16_t port, struct dpdk_sys_link *link);

/* The RSS functions that spread IPv4 and IPv6 by addresses, and TCP and UDP by ports as well (a macro). */
extern const uint64_t dpdk_sys_rss_functions;

/* Beside these: by the source alone, or by the destination alone (macros). */
extern const uint64_t dpdk_sys_rss_source_only;
extern const uint64_t dpdk_sys_rss_destination_only;

/*
 * Spreads IPv4 over queues 0 to queues - 1 by rules that hash by `functions`, with as much of `key` as the device hashes with
 * (rte_flow, whose structures have bit-fields). 0, or a negative errno: then no rule was left behind.
 */
int dpdk_sys_spread_by_rules(uint16_t port, uint64_t functions, uint16_t queues, const uint8_t *key, uint32_t key_length);

/* Sends DPDK's log to `write` instead of stderr, a piece at a time; 0 or -1. Call before rte_eal_init. */
int dpdk_sys_log_to(void (*write)(const char *text, uintptr_t length));

#endif
