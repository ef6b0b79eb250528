"""The Linux kernel as the device under test, between two veths.

Its work is done by two of its own threads: where a veth's receiving side has GRO on and its NAPI is threaded, what comes in by
it is routed, translated and sent there, and in no interrupt of the sender's. Both run on the device's core, and their
time is the scheduler's account.
"""

import shutil
import time

from machine import busy_s, kernel_threads, ran_s
from netns import LabError, run

POOL = "198.18.0.64-198.18.0.127"
NFT = {
    "route": "",
    "masquerade": "table ip nat { chain out { type nat hook postrouting priority srcnat; oif out masquerade; }; }",
    "snat": f"table ip nat {{ chain out {{ type nat hook postrouting priority srcnat; oif out snat to {POOL}; }}; }}",
    "flowtable": f"""
        table ip nat {{ chain out {{ type nat hook postrouting priority srcnat; oif out snat to {POOL}; }}; }}
        table ip fast {{
            flowtable known {{ hook ingress priority 0; devices = {{ in, out }}; }}
            chain forward {{ type filter hook forward priority 0; meta l4proto udp flow add @known; }}
        }}""",
}
# Those of benches/src/plain.rs.
INSIDE_MAC, OUTSIDE_MAC = "02:01:00:00:00:00", "02:02:00:00:00:00"
HOST_MAC, NEXT_HOP_MAC = "02:03:00:00:00:00", "02:00:00:00:00:04"
# Hosts are behind one next hop: the kernel is spared a neighbour for each.
HOSTS, NEXT_HOP = "10.255.255.254", "198.18.0.1"


class Kernel:
    behind_a_hop = True

    def __init__(self, what):
        self.what, self.name = what, f"Linux {what}"
        self.untranslated = what == "route"

    def missing(self, world):
        """Whether this kernel knows the rules."""
        if not NFT[self.what]:
            return None
        if not shutil.which("nft"):
            return "nft is not installed"
        probe = world.add("probe")
        try:
            for name in ("in", "out"):
                probe.run("ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}0")
            done = probe.run("nft", "-f", "-", stdin=NFT[self.what], check=False)
            return None if done.returncode == 0 else f"this kernel has no {self.what}: {done.stderr.strip().splitlines()[0]}"
        finally:
            world.namespaces.pop("probe")
            run(["ip", "netns", "delete", probe.full], check=False)

    def start(self, world, link, core, scene, flows):
        router, self.core = link.device_host, core
        self.router = router
        for name, mac in (("in", INSIDE_MAC), ("out", OUTSIDE_MAC)):
            router.run("ip", "link", "set", name, "address", mac)
        router.run("ip", "address", "add", "10.0.0.1/32", "dev", "in")
        router.run("ip", "route", "add", "10.0.0.0/8", "via", HOSTS, "dev", "in", "onlink")
        router.run("ip", "neighbour", "replace", HOSTS, "lladdr", HOST_MAC, "dev", "in", "nud", "permanent")
        router.run("ip", "address", "add", "198.18.0.2/24", "dev", "out")
        pool = "".join(f"address add 198.18.0.{last}/32 dev out\n" for last in range(64, 128))
        router.run("ip", "-batch", "-", stdin=pool)
        router.run("ip", "neighbour", "replace", NEXT_HOP, "lladdr", NEXT_HOP_MAC, "dev", "out", "nud", "permanent")
        router.run("ip", "route", "add", "default", "via", NEXT_HOP)
        router.sysctl("net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0")
        if NFT[self.what]:
            router.run("nft", "-f", "-", stdin=NFT[self.what])
            router.sysctl("net.netfilter.nf_conntrack_udp_timeout=600", "net.netfilter.nf_conntrack_udp_timeout_stream=600")
        self._bind(router, core)

    def _bind(self, router, core):
        """One thread of the kernel's for each veth, on the device's core."""
        before = kernel_threads("napi/")
        for name in ("in", "out"):
            router.run("ethtool", "-K", name, "gro", "on")
            # /sys shows the devices of the namespace that it was mounted in.
            run(["ip", "netns", "exec", router.full, "sh", "-c", f"echo 1 >/sys/class/net/{name}/threaded"])
        time.sleep(0.1)
        self.napi = sorted(kernel_threads("napi/") - before)
        if len(self.napi) != 2:
            raise LabError(f"two veths have {len(self.napi)} threads of the kernel's: is threaded NAPI there?")
        for thread in self.napi:
            run(["taskset", "-pc", str(core), str(thread)])
            run(["renice", "-n", "-15", "-p", str(thread)])
        # What they leave to the core's own.
        self.softirq = sorted(kernel_threads(f"ksoftirqd/{core}\n"))

    def threads(self):
        return [*self.napi, *self.softirq]

    def before_window(self):
        self.before = busy_s(self.core), ran_s(self.threads())

    def after_window(self, window):
        """Its threads wait for each other, which is no disturbance: what others ran on their core is."""
        busy, ran = (now - before for now, before in zip((busy_s(self.core), ran_s(self.threads())), self.before))
        window["device"]["waited"] = min(window["device"]["waited"], max(0.0, busy - ran) / window["seconds"])

    def account(self):
        done = self.router.run("cat", "/proc/sys/net/netfilter/nf_conntrack_count", check=False)
        return {"connections": int(done.stdout)} if done.returncode == 0 else {}

    def stop(self):
        pass
