"""The laboratory: two tenants with the same addresses, a provider's router and servers behind it.

    a1 10.0.0.5  (SNAT)         ┐
    a2 10.0.0.6  (floating .50) ├ VLAN 100 ┐                                           ┌ web 198.51.100.10, MTU 1500
    a3 10.0.0.7  (SNAT)         ┘          │                                           │   HTTP, DNS, iperf3, echo, STUN
                                         switch ── gw: inside │ outside ── switch ── isp
    b1 10.0.0.5  (SNAT)         ┐          │                                203.0.113.1│
    b2 10.0.0.6  (floating .60) ┴ VLAN 200 ┘                                           └ far 192.0.2.10, MTU 1400
                                                                                           HTTP

Both tenants share one external address, 203.0.113.10; floating IPs are 203.0.113.50 and .60. Tenant B's network has
an MTU of 1400 in the rules while its hosts believe in 1500, as happens in clouds: towards it the gateway itself must
say "fragmentation needed". Towards `far` the provider's router says it, and the gateway translates what it says.

`gw` has two bare ports and no address: what stands between them is put there by `gateway.py` (natgate) or `kernel.py`
(the Linux kernel's NAT, the stand-in that tells a fault of the laboratory from one of the gateway).
"""

import json
import pathlib

from netns import World, run

TENANT_GATEWAY = "10.0.0.1"
EXTERNAL = "203.0.113.10"
FLOATING_A2, FLOATING_B2 = "203.0.113.50", "203.0.113.60"
ISP, WEB, FAR = "203.0.113.1", "198.51.100.10", "192.0.2.10"
WEB_TOO = "198.51.100.11"
WEB_NAME = "www.example.net"
NARROW_MTU = 1400
VLANS = {"a": 100, "b": 200}
TENANT_HOSTS = {
    "a1": "10.0.0.5",
    "a2": "10.0.0.6",
    "a3": "10.0.0.7",
    "b1": "10.0.0.5",
    "b2": "10.0.0.6",
}
HTTP, DNS, IPERF, ECHO, STREAM, ENDURE = 80, 53, 5201, 7000, 7001, 7002
STUN, STUN_TOO = 3478, 3479

# The receiver's own packet filter counts every datagram that arrives.
COUNT_UDP = """
table ip laboratory {
    counter datagrams {}
    chain arrived {
        type filter hook input priority filter
        ip protocol udp counter name datagrams
    }
}"""


class Laboratory(World):
    """The hosts and their servers. `with Laboratory() as lab:`; afterwards nothing of it is left."""

    def __enter__(self):
        super().__enter__()
        try:
            self._build()
            self._serve()
        except BaseException:
            self.__exit__()
            raise
        return self

    def host(self, name):
        return self.namespaces[name]

    def _build(self):
        switch = self.add("switch")
        # Frames cross a bridge as they are: without this, netfilter would look into them (and defragment them).
        switch.sysctl("net.bridge.bridge-nf-call-iptables=0")
        for bridge in ("inside", "outside"):
            switch.run("ip", "link", "add", bridge, "type", "bridge", "stp_state", "0", "forward_delay", "0", "mcast_snooping", "0")
            switch.run("ip", "link", "set", bridge, "up")

        self.add("gw")
        self.plug("gw", "inside", "inside")
        self.plug("gw", "outside", "outside")

        for tenant, vlan in VLANS.items():
            self._compile_vlan(vlan)
        for name, address in TENANT_HOSTS.items():
            host = self.add(name)
            self.plug(name, "eth0", "inside", vlan=VLANS[name[0]])
            host.run("ip", "address", "add", f"{address}/24", "dev", "eth0")
            host.run("ip", "route", "add", "default", "via", TENANT_GATEWAY)

        isp = self.add("isp")
        self.plug("isp", "uplink", "outside")
        isp.run("ip", "address", "add", f"{ISP}/24", "dev", "uplink")
        isp.sysctl("net.ipv4.ip_forward=1", "net.ipv4.icmp_ratelimit=0")
        for name, address, mtu in (("web", WEB, 1500), ("far", FAR, NARROW_MTU)):
            host = self.add(name)
            # All of a traceroute's last probes come at once, and each is to be told that its port is unreachable.
            host.sysctl("net.ipv4.icmp_ratelimit=0")
            self.cable(isp, name, host, "eth0")
            router = address.rsplit(".", 1)[0] + ".1"
            isp.run("ip", "address", "add", f"{router}/24", "dev", name)
            isp.run("ip", "link", "set", name, "mtu", mtu)
            host.run("ip", "link", "set", "eth0", "mtu", mtu)
            host.run("ip", "address", "add", f"{address}/24", "dev", "eth0")
            host.run("ip", "route", "add", "default", "via", router)

        # Its second address, for STUN's sake: who filters by address has to meet two.
        self.host("web").run("ip", "address", "add", f"{WEB_TOO}/24", "dev", "eth0")

        for name in ("a1", "web"):
            self.host(name).run("nft", "-f", "-", stdin=COUNT_UDP)

    def plug(self, name, interface, bridge, vlan=None):
        """Plugs a host into one of the switch's ports: a trunk, or with `vlan` an access port."""
        switch, port = self.host("switch"), f"{name}-{interface}"
        self.cable(self.host(name), interface, switch, port)
        if vlan is not None:
            program = self.directory / f"vlan{vlan}.o"
            switch.run("tc", "qdisc", "add", "dev", port, "clsact")
            switch.run("tc", "filter", "add", "dev", port, "ingress", "bpf", "da", "obj", program, "sec", "from_host")
            switch.run("tc", "filter", "add", "dev", port, "egress", "bpf", "da", "obj", program, "sec", "to_host")
        switch.run("ip", "link", "set", port, "master", bridge)

    def _compile_vlan(self, vlan):
        source = pathlib.Path(__file__).parent / "vlan.c"
        machine = run(["gcc", "-dumpmachine"]).stdout.strip()
        run(["clang", "-O2", "-target", "bpf", f"-I/usr/include/{machine}", f"-DVID={vlan}", "-c", str(source), "-o", str(self.directory / f"vlan{vlan}.o")])

    def _serve(self):
        web, far = self.host("web"), self.host("far")
        servers = [
            (web.start_python("web.py", "web", HTTP), "tcp", HTTP),
            (far.start_python("web.py", "far", HTTP), "tcp", HTTP),
            (web.start_python("flows.py", "serve", ECHO), "tcp", ECHO),
            (web.start_python("stun.py", "serve", WEB, WEB_TOO, STUN, STUN_TOO), "tcp", STUN),
            (web.start("iperf3", "--server", "--version4", "--port", IPERF), "tcp", IPERF),
            (
                web.start(
                    "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root",
                    "--pid-file=", f"--listen-address={WEB}", "--bind-interfaces", f"--address=/{WEB_NAME}/{WEB}",
                ),
                "udp",
                DNS,
            ),
        ]
        servers += [(self.host(name).start_python("web.py", name, HTTP), "tcp", HTTP) for name in ("a2", "a3", "b2")]
        for server, protocol, port in servers:
            server.wait_listening(protocol, port)

    def udp_arrived(self, name):
        """Datagrams that ever arrived at a host, whether or not its programs read them."""
        counter = self.host(name).run("nft", "-j", "list", "counter", "ip", "laboratory", "datagrams").stdout
        return next(entry["counter"]["packets"] for entry in json.loads(counter)["nftables"] if "counter" in entry)

    def megabytes(self, count):
        """A file of that size to upload."""
        path = self.directory / f"{count}-megabytes"
        path.write_bytes(b"x" * (count << 20))
        return str(path)

    def forget_path_mtus(self):
        """Hosts remember a path's MTU for ten minutes; a check of path-MTU discovery starts without."""
        for name in (*TENANT_HOSTS, "web", "far"):
            self.host(name).run("ip", "route", "flush", "cache")
