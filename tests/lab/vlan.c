/* An access port of a switch, as two tc-BPF programs: untagged on the host's side, VLAN `VID` on the switch's side.
 *
 * Why not `ip link type vlan`: it needs CONFIG_VLAN_8021Q, which small kernels lack; tc-BPF works on every kernel that
 * the laboratory meets, and one way that works everywhere is one way to get wrong. The programs sit on the switch's
 * end of the host's cable, so the host itself is a plain host and its captures show untagged frames.
 *
 * Built at run time: clang -O2 -target bpf -DVID=100 -c vlan.c
 */
#include <linux/bpf.h>

#define SEC(name) __attribute__((section(name), used))
#define TC_ACT_OK 0
#define TC_ACT_SHOT 2
#define VLAN_ID_MASK 0x0fff
#define ETH_P_8021Q_WIRE 0x0081 /* 0x8100 in network byte order on a little-endian machine */

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "little-endian machines only"
#endif

static long (*const bpf_skb_vlan_push)(struct __sk_buff *skb, __u16 protocol, __u16 tci) = (void *)BPF_FUNC_skb_vlan_push;
static long (*const bpf_skb_vlan_pop)(struct __sk_buff *skb) = (void *)BPF_FUNC_skb_vlan_pop;

/* Host to switch: every frame gets the tag. A host that tags by itself has no business here. */
SEC("from_host") int tag(struct __sk_buff *skb)
{
	if (skb->vlan_present)
		return TC_ACT_SHOT;
	return bpf_skb_vlan_push(skb, ETH_P_8021Q_WIRE, VID) ? TC_ACT_SHOT : TC_ACT_OK;
}

/* Switch to host: only this VLAN's frames, without their tag. The bridge floods all VLANs to all ports. */
SEC("to_host") int untag(struct __sk_buff *skb)
{
	if (!skb->vlan_present || (skb->vlan_tci & VLAN_ID_MASK) != VID)
		return TC_ACT_SHOT;
	return bpf_skb_vlan_pop(skb) ? TC_ACT_SHOT : TC_ACT_OK;
}

SEC("license") const char terms[] = "Dual MIT/GPL";
