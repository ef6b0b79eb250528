#define _GNU_SOURCE
#include <stdio.h>
#include <stddef.h>
#include <sys/types.h>

#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_flow.h>
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
const uint64_t dpdk_sys_rss_source_only = RTE_ETH_RSS_L3_SRC_ONLY | RTE_ETH_RSS_L4_SRC_ONLY;
const uint64_t dpdk_sys_rss_destination_only = RTE_ETH_RSS_L3_DST_ONLY | RTE_ETH_RSS_L4_DST_ONLY;

#define QUEUES_MAX 64
#define ONLY (RTE_ETH_RSS_L3_SRC_ONLY | RTE_ETH_RSS_L4_SRC_ONLY | RTE_ETH_RSS_L3_DST_ONLY | RTE_ETH_RSS_L4_DST_ONLY)
#define ONLY_ADDRESS (RTE_ETH_RSS_L3_SRC_ONLY | RTE_ETH_RSS_L3_DST_ONLY)

int dpdk_sys_spread_by_rules(uint16_t port, uint64_t functions, uint16_t queues, const uint8_t *key, uint32_t key_length)
{
	/* The most special first: a device may go by order. Without ports only addresses count. */
	static const struct {
		enum rte_flow_item_type transport;
		uint64_t functions;
		uint64_t only;
	} rules[] = {
		{ RTE_FLOW_ITEM_TYPE_TCP, RTE_ETH_RSS_NONFRAG_IPV4_TCP, ONLY },
		{ RTE_FLOW_ITEM_TYPE_UDP, RTE_ETH_RSS_NONFRAG_IPV4_UDP, ONLY },
		{ RTE_FLOW_ITEM_TYPE_VOID, RTE_ETH_RSS_IPV4 | RTE_ETH_RSS_FRAG_IPV4 | RTE_ETH_RSS_NONFRAG_IPV4_OTHER, ONLY_ADDRESS },
	};
	struct rte_flow *made[RTE_DIM(rules)];
	struct rte_eth_dev_info info = { 0 };
	struct rte_flow_error error;
	uint16_t queue[QUEUES_MAX];
	int result = rte_eth_dev_info_get(port, &info);

	if (result != 0)
		return result;
	if (queues > QUEUES_MAX)
		return -EINVAL;
	for (uint16_t i = 0; i < queues; i++)
		queue[i] = i;
	for (size_t i = 0; i < RTE_DIM(rules); i++) {
		const struct rte_flow_attr attr = { .ingress = 1 };
		const struct rte_flow_item pattern[] = {
			{ .type = RTE_FLOW_ITEM_TYPE_ETH },
			{ .type = RTE_FLOW_ITEM_TYPE_IPV4 },
			{ .type = rules[i].transport },
			{ .type = RTE_FLOW_ITEM_TYPE_END },
		};
		const struct rte_flow_action_rss rss = {
			.func = RTE_ETH_HASH_FUNCTION_TOEPLITZ,
			.types = functions & (rules[i].functions | rules[i].only),
			.key = info.hash_key_size <= key_length ? key : NULL,
			.key_len = info.hash_key_size <= key_length ? info.hash_key_size : 0,
			.queue = queue,
			.queue_num = queues,
		};
		const struct rte_flow_action actions[] = {
			{ .type = RTE_FLOW_ACTION_TYPE_RSS, .conf = &rss },
			{ .type = RTE_FLOW_ACTION_TYPE_END },
		};

		made[i] = rte_flow_create(port, &attr, pattern, actions, &error);
		if (made[i] == NULL) {
			result = rte_errno > 0 ? -rte_errno : -ENOTSUP;
			while (i-- > 0)
				rte_flow_destroy(port, made[i], &error);
			return result;
		}
	}
	return 0;
}

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
