"""What a user of a NAT gateway expects, each as one check with real clients.

A check takes the laboratory and the gateway in it, does one thing, and returns a `Saw`: what was tried, what came back,
and figures. It raises `Failed` with what came back instead. `demo.py` prints them, `assembly.py` tests with them.
"""

import contextlib
import re

from clients import Failed, Saw, curl, curl_together, dig, flows, interface_drops, iperf, ping, require, seen, snmp, traceroute
from topology import ECHO, FAR, FLOATING_A2, FLOATING_B2, ISP, NARROW_MTU, TENANT_GATEWAY, TENANT_HOSTS, WEB, WEB_NAME

FLOWS = 4000
UDP_RATE = "100M"
WEB_URL, FAR_URL = f"http://{WEB}/", f"http://{FAR}/"
RECEIVERS = (*TENANT_HOSTS, "web", "far", "isp")


def same_private_address_in_two_tenants_at_once(lab, gateway):
    one, other = curl_together(WEB_URL, lab.host("a1"), lab.host("b1"))
    sources = [seen(one), seen(other)]
    require(all(address in gateway.externals for address, _ in sources), f"the server saw {sources}, not {gateway.externals}")
    require(sources[0] != sources[1], f"both tenants came from {sources[0]}")
    shown = " and ".join(f"{address}:{port}" for address, port in sources)
    return Saw("curl from 10.0.0.5 of tenant A and 10.0.0.5 of tenant B at once", f"HTTP 200 twice; the server saw {shown}")


def ping_gateway_and_internet(lab, gateway):
    for host in ("a1", "b1"):
        for address in (TENANT_GATEWAY, WEB):
            answer = ping(lab.host(host), address)
            require(answer.received == answer.sent, f"{host} -> {address}: {answer.received} of {answer.sent} answered")
    average = re.search(r"= [\d.]+/([\d.]+)/", answer.output)[1]
    return Saw(f"ping {TENANT_GATEWAY} (the gateway) and {WEB} from both tenants", f"12 of 12 answered, {average} ms on average", {"ping_ms": float(average)})


def dns_over_udp_and_tcp(lab, gateway):
    answers = [dig(lab.host("a1"), WEB, WEB_NAME), dig(lab.host("b1"), WEB, WEB_NAME, "+tcp")]
    require(answers == [WEB, WEB], f"answers {answers}")
    return Saw(f"dig {WEB_NAME} over UDP from tenant A, over TCP from tenant B", f"{WEB} twice")


def floating_ip_in_and_out(lab, gateway):
    inwards = curl(lab.host("web"), f"http://{FLOATING_A2}/")
    require(inwards.body.startswith("a2 ") and seen(inwards)[0] == WEB, f"curl {FLOATING_A2} answered {inwards.body!r}")
    outwards = seen(curl(lab.host("a2"), WEB_URL))
    require(outwards[0] == FLOATING_A2, f"10.0.0.6 went out as {outwards[0]}")
    answer = ping(lab.host("web"), FLOATING_B2)
    require(answer.received == answer.sent, f"ping {FLOATING_B2}: {answer.received} of {answer.sent} answered")
    return Saw(f"curl from the internet to {FLOATING_A2}, and from its owner 10.0.0.6 out", f"a2 saw {WEB}; the internet saw {FLOATING_A2}")


def hairpin_to_floating_ip_of_same_router(lab, gateway):
    answer = curl(lab.host("a1"), f"http://{FLOATING_A2}/")
    require(answer.body.startswith("a2 ") and seen(answer)[0] in gateway.externals, f"answered {answer.body!r}")
    return Saw(f"curl from 10.0.0.5 to {FLOATING_A2}, a machine beside it", f"a2 saw {seen(answer)[0]}")


def hairpin_to_floating_ip_of_other_router(lab, gateway):
    answer = curl(lab.host("a1"), f"http://{FLOATING_B2}/")
    require(answer.body.startswith("b2 ") and seen(answer)[0] in gateway.externals, f"answered {answer.body!r}")
    both = curl(lab.host("a2"), f"http://{FLOATING_B2}/")
    require(both.body.startswith("b2 ") and seen(both)[0] == FLOATING_A2, f"from a floating IP: answered {both.body!r}")
    return Saw(f"curl from tenant A to {FLOATING_B2}, tenant B's", f"b2 saw {seen(answer)[0]}, and {FLOATING_A2} from A's floating IP")


def four_thousand_flows_through_one_address(lab, gateway):
    figures = {}
    for protocol in ("udp", "tcp"):
        report = figures[protocol] = flows(lab.host("a1"), WEB, protocol, FLOWS)
        require(not report["wrong"], f"{protocol}: {report['wrong']}")
        require(report["answered"] == FLOWS, f"{protocol}: {report['answered']} of {FLOWS} answered")
        require(len(report["external_addresses"]) == 1, f"{protocol}: came from {report['external_addresses']}")
        require(report["external_endpoints"] == FLOWS, f"{protocol}: only {report['external_endpoints']} external endpoints")
    address = report["external_addresses"][0]
    seconds = f"{figures['udp']['seconds']} s and {figures['tcp']['seconds']} s"
    return Saw(f"{FLOWS} UDP, then {FLOWS} TCP flows at once from 10.0.0.5 to port {ECHO}", f"every echo came back, all through {address}, {seconds}", figures)


def tcp_throughput_both_ways(lab, gateway):
    rates = {}
    for way, options in (("out", ()), ("in", ("-R",))):
        rates[way] = round(iperf(lab.host("a1"), WEB, *options)["sum_received"]["bits_per_second"] / 1e6)
        require(rates[way] > 1, f"{way}: {rates[way]} Mb/s")
    return Saw("iperf3 TCP, out and in", f"{rates['out']} Mb/s and {rates['in']} Mb/s", {"tcp_mbps": rates})


def paced_udp_both_ways(lab, gateway):
    """Every datagram that one kernel sent must be in the other's hands or in a counter with a name, none in ours.

    The receiver's packet filter counts what arrived. The socket's own counter would not do: it counts what the program
    read, and iperf3 closes its socket with the last datagrams of a late burst unread.
    """
    figures, results = {}, []
    for way, sender, receiver, options in (("out", "a1", "web", ()), ("in", "web", "a1", ("-R",))):
        before = udp_ledger(lab, gateway, sender, receiver)
        report = iperf(lab.host("a1"), WEB, "-u", "-b", UDP_RATE, "-w", "2M", *options)["sum"]
        rose = {account: risen(before[account], now) for account, now in udp_ledger(lab, gateway, sender, receiver).items()}
        sent, arrived = rose["sent"]["datagrams"], rose["arrived"]["datagrams"]
        on_the_way, found = sent - arrived, rose["interfaces"] | rose["socket"]
        require(not rose["gateway"], f"{way}: the gateway dropped {rose['gateway']}")
        require(on_the_way <= sum(rose["interfaces"].values()), f"{way}: {on_the_way} of {sent} datagrams lost on the way, the interfaces' counters rose by {rose['interfaces']}")
        lost = on_the_way + sum(rose["socket"].values())
        figures[way] = {"sent": sent, "lost": lost, "gateway_drops": 0, "counters": found}
        named = f" (found: {', '.join(f'{count} in {name}' for name, count in found.items())})" if found else ""
        results.append(f"{report['bits_per_second'] / 1e6:.0f} Mb/s {way}, {sent} sent, {lost} lost{named}")
    return Saw(f"iperf3 UDP paced at {UDP_RATE}b/s, out and in", "; ".join(results) + "; the gateway dropped 0", {"udp": figures})


def udp_ledger(lab, gateway, sender, receiver):
    """All counters that a datagram can end in, now."""
    arrived = snmp(lab.host(receiver))
    return {
        "sent": {"datagrams": snmp(lab.host(sender))["Udp.OutDatagrams"]},
        "arrived": {"datagrams": lab.udp_arrived(receiver)},
        "gateway": gateway.drops(),
        "interfaces": interface_drops(lab.namespaces.values()) | gateway.missed(),
        "socket": {name: arrived[name] for name in ("Udp.InErrors", "Udp.NoPorts")},
    }


def risen(before, after):
    """What rose, by how much."""
    return {name: count - before.get(name, 0) for name, count in after.items() if count > before.get(name, 0)}


def traceroute_shows_gateway(lab, gateway):
    before = gateway.drops()
    for options in ((), ("-I",), ("-T", "-p", "80")):
        hops = [hop.address for hop in traceroute(lab.host("a1"), WEB, *options)]
        require(hops == [TENANT_GATEWAY, ISP, WEB], f"traceroute {' '.join(options)} showed {hops}")
    dropped = risen(before, gateway.drops())
    require(dropped.keys() <= {"ttl_expired"}, f"the gateway dropped {dropped}")
    return Saw(f"traceroute to {WEB} with UDP, ICMP and TCP", " -> ".join(hops))


def path_mtu_discovery(lab, gateway):
    lab.forget_path_mtus()
    # Outwards the provider's router says it, about a packet that we translated.
    answer = ping(lab.host("a1"), FAR, "-M", "do", "-s", 1472, count=2)
    require(re.search(rf"From {ISP} .*[Ff]rag needed.*mtu = {NARROW_MTU}", answer.output), f"a1 -> {FAR}: {answer.output.strip()}")
    upload = curl(lab.host("a1"), FAR_URL, "--data-binary", "@" + lab.megabytes(4))
    require("received 4194304 bytes" in upload.body, f"upload: {upload}")
    # Inwards the gateway itself says it, about tenant B's network.
    answer = ping(lab.host("web"), FLOATING_B2, "-M", "do", "-s", 1472, count=2)
    require(re.search(rf"[Ff]rag needed.*mtu = {NARROW_MTU}", answer.output), f"web -> {FLOATING_B2}: {answer.output.strip()}")
    download = curl(lab.host("b2"), f"{WEB_URL}bytes/4194304", "-o", "/dev/null")
    require(download.status == 200, f"download: {download}")
    learnt = lab.host("web").run("ip", "route", "get", FLOATING_B2).stdout
    require(f"mtu {NARROW_MTU}" in learnt, f"the server did not learn tenant B's MTU: {learnt.strip()}")
    return Saw(
        f"1500-byte packets with DF towards links of MTU {NARROW_MTU}, then 4 MB uploaded and downloaded through them",
        f"{ISP} and the gateway said mtu {NARROW_MTU}; both transfers whole",
    )


BAD_SUMS = ("Tcp.InCsumErrors", "Udp.InCsumErrors", "Icmp.InCsumErrors", "Ip.InHdrErrors", "IpExt.InCsumErrors")


@contextlib.contextmanager
def no_bad_checksum(lab):
    """Fails if any receiver met a bad checksum meanwhile."""
    before = {name: snmp(lab.host(name)) for name in RECEIVERS}
    yield
    for name in RECEIVERS:
        after = snmp(lab.host(name))
        bad = {counter: after[counter] - before[name][counter] for counter in BAD_SUMS if after.get(counter, 0) > before[name].get(counter, 0)}
        # A TTL that ended at the provider's router is a header error to its kernel; traceroute makes them.
        if name == "isp":
            bad.pop("Ip.InHdrErrors", None)
        require(not bad, f"{name} met bad checksums: {bad}")


def no_frame_looks_wrong(lab, gateway):
    """tcpdump verifies every checksum that the kernel might not (ICMP payloads, echoed frames)."""
    watched = ("web", "a1", "a2", "b1")
    files = {name: lab.directory / f"{name}.pcap" for name in watched}
    captures = [lab.host(name).start("tcpdump", "-Z", "root", "-i", "eth0", "-Q", "in", "--immediate-mode", "-U", "-w", files[name], "ip", label="tcpdump") for name in watched]
    for capture in captures:
        capture.wait_log("listening on")
    curl_together(WEB_URL, lab.host("a1"), lab.host("b1"))
    curl(lab.host("web"), f"http://{FLOATING_A2}/")
    curl(lab.host("a1"), f"http://{FLOATING_A2}/")
    ping(lab.host("a1"), WEB, "-s", 1001)
    dig(lab.host("b1"), WEB, WEB_NAME)
    traceroute(lab.host("a1"), WEB)
    for capture in captures:
        capture.stop()
    frames = 0
    for name, file in files.items():
        text = lab.host(name).run("tcpdump", "-nn", "-vv", "-r", file).stdout
        frames += len(re.findall(r"^\S+ IP ", text, re.MULTILINE))
        wrong = [line.strip() for line in text.splitlines() if re.search(r"incorrect|bad (udp |icmp )?cksum|wrong", line)]
        require(not wrong, f"{name} received: {wrong[:1]}")
    require(frames > 30, f"only {frames} frames seen")
    return Saw("tcpdump at the receivers, verifying every checksum", f"{frames} frames, none wrong")


DEMO = (
    same_private_address_in_two_tenants_at_once,
    ping_gateway_and_internet,
    dns_over_udp_and_tcp,
    floating_ip_in_and_out,
    hairpin_to_floating_ip_of_same_router,
    hairpin_to_floating_ip_of_other_router,
    traceroute_shows_gateway,
    path_mtu_discovery,
    four_thousand_flows_through_one_address,
    tcp_throughput_both_ways,
    paced_udp_both_ways,
    no_frame_looks_wrong,
)

__all__ = ["DEMO", "Failed", "Saw", "no_bad_checksum", *(check.__name__ for check in DEMO)]
