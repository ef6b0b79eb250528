#define _GNU_SOURCE
#include <stdio.h>
#include <stddef.h>
#include <sys/types.h>

#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_log.h>
#include <rte_mbuf.h>

#include "shim.h"

/*
 * The view of struct rte_mbuf in src/mbuf.rs, checked against the installed DPDK. If one of these fails, that release
 * has moved a field: change the view, and nothing else.
 */
#define SAME(field, offset) _Static_assert(offsetof(struct rte_mbuf, field) == (offset), "rte_mbuf." #field)
SAME(buf_addr, 0);
SAME(data_off, 16);
SAME(refcnt, 18);
SAME(nb_segs, 20);
SAME(port, 22);
SAME(ol_flags, 24);
SAME(packet_type, 32);
SAME(pkt_len, 36);
SAME(data_len, 40);
SAME(vlan_tci, 42);
SAME(hash, 44);
SAME(vlan_tci_outer, 52);
SAME(buf_len, 54);
SAME(pool, 56);
_Static_assert(sizeof(struct rte_mbuf) == 128, "rte_mbuf");
_Static_assert(_Alignof(struct rte_mbuf) == 64, "rte_mbuf");

int dpdk_sys_errno(void)
{
	return rte_errno;
}

struct rte_mbuf *dpdk_sys_mbuf_allocate(struct rte_mempool *pool)
{
	return rte_pktmbuf_alloc(pool);
}

void dpdk_sys_mbuf_free(struct rte_mbuf *mbuf)
{
	rte_pktmbuf_free(mbuf);
}

int dpdk_sys_link_get(uint16_t port, struct dpdk_sys_link *link)
{
	struct rte_eth_link now = { 0 };
	int result = rte_eth_link_get_nowait(port, &now);

	link->up = now.link_status;
	link->speed_mbps = now.link_speed == RTE_ETH_SPEED_NUM_UNKNOWN ? 0 : now.link_speed;
	return result;
}

const uint64_t dpdk_sys_rss_functions = RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP;

static void (*log_write)(const char *text, uintptr_t length);

static ssize_t log_cookie_write(void *cookie, const char *text, size_t length)
{
	(void)cookie;
	log_write(text, length);
	return (ssize_t)length;
}

int dpdk_sys_log_to(void (*write)(const char *text, uintptr_t length))
{
	FILE *stream;

	log_write = write;
	stream = fopencookie(NULL, "w", (cookie_io_functions_t){ .write = log_cookie_write });
	if (stream == NULL)
		return -1;
	setvbuf(stream, NULL, _IOLBF, 0);
	return rte_openlog_stream(stream);
}
