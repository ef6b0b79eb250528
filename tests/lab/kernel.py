"""The Linux kernel's NAT in the gateway's place: `Kernel(lab)`.

It proves the laboratory: a check that fails here is the laboratory's fault, one that fails only with natgate is
natgate's. One router namespace per tenant, as the kernel cannot tell the tenants apart by itself. What differs by
nature: each router has its own external address (`.10` and `.11`), and tenant B's MTU is the router's own.
"""

from topology import FLOATING_A2, FLOATING_B2, ISP, NARROW_MTU, TENANT_GATEWAY, VLANS

ROUTERS = {
    "a": ("203.0.113.10", FLOATING_A2, "10.0.0.6", 1500),
    "b": ("203.0.113.11", FLOATING_B2, "10.0.0.6", NARROW_MTU),
}


class Kernel:
    """Same handle as `gateway.Natgate`, as far as the checks of plain traffic go."""

    externals = {external for external, *_ in ROUTERS.values()}
    own_checks = ()

    def __init__(self, lab):
        self.lab = lab

    def start(self):
        for tenant, (external, floating, internal, mtu) in ROUTERS.items():
            router = self.lab.add(f"rt{tenant}")
            self.lab.plug(router.name, "inside", "inside", vlan=VLANS[tenant])
            self.lab.plug(router.name, "outside", "outside")
            router.run("ip", "address", "add", f"{TENANT_GATEWAY}/24", "dev", "inside")
            for address in (external, floating):
                router.run("ip", "address", "add", f"{address}/24", "dev", "outside")
            router.run("ip", "link", "set", "inside", "mtu", mtu)
            router.run("ip", "route", "add", "default", "via", ISP)
            router.sysctl("net.ipv4.ip_forward=1", "net.ipv4.icmp_ratelimit=0")
            router.run("nft", "-f", "-", stdin=f"""
                table ip nat {{
                    chain in {{
                        type nat hook prerouting priority dstnat
                        ip daddr {floating} dnat to {internal}
                    }}
                    chain out {{
                        type nat hook postrouting priority srcnat
                        ip saddr {internal} ip daddr != 10.0.0.0/24 oif outside snat to {floating}
                        ip saddr 10.0.0.0/24 ip daddr 10.0.0.0/24 snat to {external}
                        ip saddr 10.0.0.0/24 oif outside snat to {external}
                    }}
                }}""")
        return self

    def stop(self):
        pass

    def about(self):
        return "the Linux kernel's NAT in the gateway's place"

    def exhibits(self):
        return []

    def log_tail(self):
        return ""

    def drops(self):
        return {}

    def missed(self):
        return {}

    def how_to_ask(self):
        return "nft list ruleset"
