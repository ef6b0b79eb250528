"""The whole program with real clients: `assembly.py [NAME...]`, as root.

One laboratory serves all tests; each test has a gateway of its own, fresh. After each test the books must close, the
gateway must end cleanly, and nothing may have left the external side with a private source.
"""

import argparse
import contextlib
import json
import os
import re
import sys
import time
import traceback

import checks
import crash
from checks import RECEIVERS
from clients import Failed, curl, curl_together, interface_drops, ping, require, seen, snmp
from gateway import BINARY, RULES, Natgate, books_close
from netns import LabError
from topology import FLOATING_A2, FLOATING_B2, HTTP, STREAM, STUN, WEB, Laboratory

TESTS = []


def requirement(function):
    """A test, named after what it shows."""
    TESTS.append(function)
    return function


for check in checks.DEMO:
    if check is not checks.no_frame_looks_wrong:

        def started(lab, gateway, check=check):
            gateway.start()
            with checks.no_bad_checksum(lab):
                check(lab, gateway)

        started.__name__ = check.__name__
        requirement(started)


@requirement
def every_checksum_is_right_at_the_receiver(lab, gateway):
    gateway.start()
    checks.no_frame_looks_wrong(lab, gateway)


# Many workers, and crashes.

for workers in (2, 4):

    def many(lab, gateway, workers=workers):
        gateway.configure(workers=workers)
        gateway.start()
        for check in checks.DEMO:
            if check is not checks.no_frame_looks_wrong:
                with checks.no_bad_checksum(lab):
                    check(lab, gateway)

    many.__name__ = f"clients_get_the_same_answers_through_{workers}_workers"
    requirement(many)


@requirement
def every_session_survives_kill_9(lab, gateway):
    crash.survive(lab, gateway, seconds=20, every=6, tcp=20, udp=400)


@requirement
def every_session_survives_a_restart(lab, gateway):
    crash.survive(lab, gateway, seconds=14, every=6, tcp=20, udp=400, end=Natgate.stop)


# Rules.


@contextlib.contextmanager
def streams(lab, *ways, seconds, rate=400):
    """Numbered datagrams on each (sender, address) way meanwhile, to echoing receivers. Afterwards none may be missing."""
    receivers = [lab.host(name).start_python("stream.py", "receive", STREAM, "--echo", label="stream-echo") for name in ("web", "b2")]
    for receiver in receivers:
        receiver.wait_listening("udp", STREAM)
    senders = {way: send(lab, *way, number, rate, seconds) for number, way in enumerate(ways, 100)}
    # The first datagrams resolve neighbours and make mappings; what is looked at comes after.
    time.sleep(1)
    yield
    for way, sender in senders.items():
        report = json.loads(sender.output(seconds + 20))
        require(not report["missing"], f"{way[0]} -> {way[1]} lost datagrams {report['missing']} of {report['sent']}")
    for receiver in receivers:
        receiver.stop()


def send(lab, sender, address, number, rate, seconds):
    return lab.host(sender).start_python("stream.py", "send", address, STREAM, number, rate, seconds, label=f"stream-{number}", own_output=True)


@requirement
def rules_edit_moves_floating_ip_within_a_second_without_losing_other_flows(lab, gateway):
    gateway.start()
    watchers = [lab.host(name).start_python("stream.py", "receive", STREAM, label="watch", own_output=True) for name in ("a2", "a3")]
    for watcher in watchers:
        watcher.wait_listening("udp", STREAM)
    others = (("a1", WEB), ("b1", WEB), ("web", FLOATING_B2), ("a1", FLOATING_B2))
    with streams(lab, *others, seconds=5):
        moving = send(lab, "web", FLOATING_A2, 1, 500, 3.5)
        time.sleep(1)
        edited = time.monotonic()
        gateway.write_rules(RULES.replace("external: 203.0.113.50, internal: 10.0.0.6", "external: 203.0.113.50, internal: 10.0.0.7"))
        programmed = gateway.wait(lambda: gateway.router("router-a")["floating_ips"][0]["internal"] == "10.0.0.7", "programmed move", 5)
        moving.output(20)
    reports = []
    for watcher in watchers:
        watcher.stop()
        reports.append(json.loads(watcher.child.stdout.read()).get("1"))
    old, new = reports
    require(old and new, f"the old machine received {old}, the new one {new}")
    require(programmed - edited < 1, f"programmed only after {programmed - edited:.2f} s")
    require(new["first_ns"] / 1e9 - edited < 1, f"the new machine was reached only after {new['first_ns'] / 1e9 - edited:.2f} s")
    require(old["last_ns"] / 1e9 <= programmed, f"the old machine was still reached {old['last_ns'] / 1e9 - programmed:.3f} s after \"programmed\"")


FAULTY = (
    # (what stands in the good rules, what the fault makes of it, the field path that must be named)
    ("id: tenant-a, port: inside, vlan: 100", "id: tenant-a, port: inside, vlan: 5000", "segment tenant-a: vlan"),
    ("mtu: 1400", "mtu: 400", "segment tenant-b: mtu"),
    ("fa:16:3e:00:0a:02", "ff:ff:ff:ff:ff:ff", "router router-a: interfaces[1].mac"),
    ("203.0.113.1, pool: shared}]\n    floating_ips:\n      - {id: web-b", "192.0.2.99, pool: shared}]\n    floating_ips:\n      - {id: web-b", "router router-b: gateways[0].next_hop"),
    ("203.0.113.60, internal: 10.0.0.6", "203.0.113.60, internal: 172.16.0.6", "router router-b: floating_ips[0].internal"),
)


@requirement
def file_with_five_faults_is_refused_naming_all_five(lab, gateway):
    gateway.start()
    faulty = RULES
    for good, bad, _ in FAULTY:
        require(good in faulty, f"rules.yaml has no {good!r} any more")
        faulty = faulty.replace(good, bad)
    file = gateway.directory / "faulty.yaml"
    file.write_text(faulty)
    done = gateway.namespace.run(BINARY, "validate", file, check=False)
    said = done.stdout + done.stderr
    require(done.returncode == 3, f"validate ended with code {done.returncode}: {said}")
    require(all(path in said for *_, path in FAULTY), f"validate did not name every fault: {said}")
    with streams(lab, ("a1", WEB), ("web", FLOATING_B2), seconds=4):
        gateway.write_rules(faulty)
        gateway.wait(lambda: all(path in gateway.log() for *_, path in FAULTY), "refusal naming all five faults", 5)
    status = gateway.status()
    require(status["generation"] == 1, "another generation came into force")
    shown = "; ".join(f"{reject['object']}: {reject['path']}" for reject in status["feed"]["rejects"])
    require(all(path in shown for *_, path in FAULTY), f"natgate status shows {shown or 'no refusal'}")


@requirement
def object_that_only_the_gateway_can_refuse_is_refused_at_both_ends(lab, gateway):
    """The feed does not know the node's ports; the gateway does."""
    gateway.start(feed=gateway.start_feed())
    with streams(lab, ("a1", WEB), ("web", FLOATING_B2), seconds=4):
        gateway.write_rules(RULES.replace("id: internet, port: outside", "id: internet, port: elsewhere"))
        gateway.wait(lambda: gateway.status()["feed"]["rejects"], "refusal", 5)
    reject = gateway.status()["feed"]["rejects"][0]
    require((reject["object"], reject["path"], reject["code"]) == ("segment internet", "port", "UNKNOWN_PORT"), f"refused was {reject}")
    require("UNKNOWN_PORT" in gateway.feed.log.read_text(), "the feed does not show the refusal")
    gateway.write_rules(RULES)
    gateway.wait(lambda: not gateway.status()["feed"]["rejects"], "acceptance of the repaired rules", 5)


# Life without the feed.


@requirement
def feed_killed_loses_no_packet(lab, gateway):
    gateway.start(feed=gateway.start_feed())
    with streams(lab, ("a1", WEB), ("b1", WEB), ("web", FLOATING_B2), seconds=5):
        gateway.feed.kill()
        gateway.wait(lambda: not gateway.status()["feed"]["connected"], "notice that the feed is gone", 5)
    require(gateway.status()["feed"]["staleness_ms"] > 0, "the staleness does not rise")
    require(re.search(r"^natgate_feed_staleness_\w+(\{.*\})? [0-9.]*[1-9]", gateway.metrics(), re.MULTILINE), "no metric tells the staleness")


@requirement
def feed_that_comes_back_is_followed_again(lab, gateway):
    gateway.start(feed=gateway.start_feed())
    gateway.feed.kill()
    gateway.write_rules(RULES.replace("external: 203.0.113.50, internal: 10.0.0.6", "external: 203.0.113.50, internal: 10.0.0.7"))
    gateway.start_feed()
    gateway.wait(lambda: gateway.router("router-a")["floating_ips"][0]["internal"] == "10.0.0.7", "rules of the new feed", 20)


@requirement
def restart_without_feed_comes_up_with_last_rules(lab, gateway):
    address = gateway.start_feed()
    gateway.start(feed=address)
    curl(lab.host("a1"), checks.WEB_URL)
    gateway.feed.kill()
    gateway.stop()
    gateway.start(feed=address)
    require(not gateway.status()["feed"]["connected"], "a feed is connected")
    curl_together(checks.WEB_URL, lab.host("a1"), lab.host("b1"))
    require(seen(curl(lab.host("web"), f"http://{FLOATING_A2}/"))[0] == WEB, "the floating IP did not come back")


# What the internet sees of a pool.

CLASSES = ("endpoint_independent", "address_dependent", "address_and_port_dependent")


#= rfc4787#REQ-1
#= rfc4787#REQ-8
#= rfc5382#REQ-1
@requirement
def stun_finds_the_mapping_and_the_filter_that_the_pool_promises(lab, gateway):
    gateway.start()
    pool = '- {id: shared, addresses: ["203.0.113.10"]}'
    require(pool in RULES, "rules.yaml has no such pool any more")
    for mapping in CLASSES:
        for filtering in CLASSES:
            behaviour = f"{{mapping: {mapping}, filtering: {filtering}}}"
            generation = gateway.status()["generation"]
            gateway.write_rules(RULES.replace(pool, f'- {{id: shared, addresses: ["203.0.113.10"], udp: {behaviour}, tcp: {behaviour}}}'))
            gateway.wait(lambda: gateway.status()["generation"] > generation, "rules in force", 5)
            for host in ("a1", "b1"):
                found = classify(lab.host(host))
                require(found["udp"]["mapping"] == mapping, f"{host}, {behaviour}: UDP is mapped {found['udp']}")
                require(found["udp"]["filtering"] == filtering, f"{host}, {behaviour}: UDP is filtered {found['udp']['filtering']}")
                require(found["tcp"]["mapping"] == mapping, f"{host}, {behaviour}: TCP is mapped {found['tcp']}")


def classify(host):
    """How the NAT before a host maps and filters, as STUN finds."""
    done = host.start_python("stun.py", "classify", WEB, STUN, own_output=True)
    return json.loads(done.output(40))


FORWARDINGS = """    port_forwardings:
      - {id: web, external: 203.0.113.70, protocol: tcp, external_ports: 8080, internal: 10.0.0.7, internal_ports: 80}
      - {id: many, external: 203.0.113.70, protocol: tcp, external_ports: 9000-9009, internal: 10.0.0.7, internal_ports: 80}
      - {id: streams, external: 203.0.113.70, protocol: udp, external_ports: 7001-7003, internal: 10.0.0.7}
"""


@requirement
def forwarded_ports_lead_to_their_host_from_outside_and_from_beside_it(lab, gateway):
    router_b = "\n  - id: router-b"
    require(router_b in RULES, "rules.yaml has no such router any more")
    gateway.write_rules(RULES.replace(router_b, FORWARDINGS.rstrip() + "\n" + router_b, 1))
    gateway.start()
    for port in (8080, 9000, 9009):
        for asker in ("web", "b1", "a1"):
            answer = curl(lab.host(asker), f"http://203.0.113.70:{port}/")
            require(answer.body.startswith("a3 "), f"{asker} asked port {port}; {answer.body!r} answered")
    receiver = lab.host("a3").start_python("stream.py", "receive", STREAM, "--echo", label="stream-echo")
    receiver.wait_listening("udp", STREAM)
    report = json.loads(send(lab, "web", "203.0.113.70", 1, 200, 2).output(20))
    require(report["sent"] and not report["missing"], f"forwarded datagrams came back {report}")
    own = seen(curl(lab.host("a3"), checks.WEB_URL))[0]
    require(own in gateway.externals, f"the host's own traffic came from {own}")


@requirement
def datagrams_too_long_for_a_tenants_network_arrive_in_pieces(lab, gateway):
    gateway.start()
    answer = ping(lab.host("web"), FLOATING_B2, "-M", "dont", "-s", 1472, count=3)
    require(answer.received == answer.sent, f"ping with 1472 bytes to a network of MTU 1400: {answer.output.strip()}")


# How connections end.


def with_tcp(settings):
    """The rules, where router A, which answers for the shared pool, has these settings."""
    gateway = "pool: shared}]\n    floating_ips:\n      - {id: web-a"
    require(gateway in RULES, "rules.yaml has no such gateway any more")
    return RULES.replace(gateway, gateway.replace("\n", f"\n{settings}\n", 1), 1)


def end(host, *arguments):
    """How a connection ends for a host's client, and after how many seconds."""
    done = json.loads(host.start_python("ends.py", *arguments, own_output=True).output(40))
    return done["end"], done["seconds"]


#= rfc5382#REQ-4
#= rfc5382#REQ-4a
@requirement
def stranger_that_nobody_waits_for_is_refused_after_six_seconds(lab, gateway):
    gateway.write_rules(with_tcp("    tcp: {unsolicited_syn: error_after_6s}"))
    gateway.start()
    how, seconds = end(lab.host("web"), "203.0.113.10", 22)
    require(how == "refused" and 6 <= seconds < 8, f"a SYN to the pool's address ended {how} after {seconds} s")


@requirement
def idle_connection_is_reset_as_the_rules_say(lab, gateway):
    timeouts = "    timeouts: {tcp_established_s: 3}\n"
    gateway.write_rules(with_tcp(f"{timeouts}    tcp: {{idle_reset: both_now}}"))
    gateway.start()
    how, seconds = end(lab.host("a1"), WEB, HTTP)
    require(how == "reset" and 3 <= seconds < 6, f"with both_now an idle connection ended {how} after {seconds} s")
    generation = gateway.status()["generation"]
    gateway.write_rules(with_tcp(f"{timeouts}    tcp: {{idle_reset: on_next_segment}}"))
    gateway.wait(lambda: gateway.status()["generation"] > generation, "rules in force", 5)
    how, seconds = end(lab.host("a1"), WEB, HTTP, 6)
    require(how == "reset" and 6 <= seconds < 8, f"with on_next_segment an idle connection ended {how} after {seconds} s")


# What must not pass, and what must not burn.


@requirement
def partial_checksum_is_dropped_with_its_own_reason(lab, gateway):
    gateway.start()
    careless = lab.host("a1")
    # The switch's own port has to be careless too, or its kernel completes the sum on the way.
    ends = ((careless, "eth0"), (lab.host("switch"), "gw-inside"))
    try:
        for host, end in ends:
            host.run("ethtool", "-K", end, "tx", "on")
        try:
            curl(careless, checks.WEB_URL, "--max-time", "2")
        except Failed:
            pass
        else:
            raise Failed("a flow whose checksum was only a pseudo-header's sum came through")
    finally:
        for host, end in ends:
            host.run("ethtool", "-K", end, "tx", "off")
    require(gateway.drops().get("partial_checksum", 0) > 0, f"drops are {gateway.drops()}")
    gateway.wait(lambda: "ethtool -K" in gateway.log(), "log line that names the cure", 3)
    require(gateway.log().count("ethtool -K") == 1, "more than one log line names the cure")
    curl(careless, checks.WEB_URL)


@requirement
def idle_worker_backs_off(lab, gateway):
    gateway.start()
    time.sleep(2)
    before, began = gateway.cpu_seconds(), time.monotonic()
    time.sleep(4)
    share = (gateway.cpu_seconds() - before) / (time.monotonic() - began)
    require(share < 0.10, f"an idle gateway takes {share:.1%} of a processor")


# What the operator is told.

ONE_WORKER = "workers: [{core}]"
WRONG_NODES = (
    # (what stands in the good configuration and what it becomes, ...), what the sentence must speak of
    ((("iface=inside", "iface=nosuch"),), "nosuch"),
    ((("net_af_packet0", "net_nosuch0"),), "net_nosuch0"),
    (((ONE_WORKER, "workers: [4095]"),), "4095"),
    (((ONE_WORKER, "workers: [0, 0]"), ("cores_shared: true", "cores_shared: false")), "twice"),
    ((("name: outside", "name: inside"),), "inside"),
)


@requirement
def start_up_failures_each_give_one_clear_sentence(lab, gateway):
    good, core = gateway.node.read_text(), max(os.sched_getaffinity(0))
    for changes, needle in WRONG_NODES:
        wrong = good
        for part, becomes in changes:
            require(part.format(core=core) in wrong, f"node.yaml has no {part!r} any more")
            wrong = wrong.replace(part.format(core=core), becomes.format(core=core))
        gateway.node.write_text(wrong)
        done = gateway.namespace.run(BINARY, "run", "--config", gateway.node, "--rules", gateway.rules, check=False)
        last = (done.stderr.strip().splitlines() or [""])[-1]
        require(done.returncode in (1, 3), f"{becomes}: ended with code {done.returncode}: {last}")
        require(needle.format(core=core) in last, f"{becomes}: the last line does not speak of {needle!r}: {last}")
    gateway.node.write_text(good)
    gateway.start()


@requirement
def second_daemon_on_the_same_region_is_refused_and_harms_nothing(lab, gateway):
    gateway.start()
    other = gateway.directory / "other.yaml"
    other.write_text(gateway.node.read_text().replace("admin.sock", "other.sock").replace("127.0.0.1:9464", "127.0.0.1:9465"))
    done = gateway.namespace.run(BINARY, "run", "--config", other, "--rules", gateway.rules, check=False)
    last = (done.stderr.strip().splitlines() or [""])[-1]
    require(done.returncode == 1 and str(gateway.region) in last, f"code {done.returncode}: {last}")
    curl(lab.host("a1"), checks.WEB_URL)


@requirement
def commands_without_a_daemon_say_so(lab, gateway):
    done = gateway.namespace.run(*gateway.command("status"), check=False)
    require(done.returncode == 4 and str(gateway.admin) in done.stderr, f"code {done.returncode}: {done.stderr}")
    gateway.start()


# The runner.

# Counters of a kernel that may explain why something that was sent was not answered.
AMISS = r"Drop|Err|Discard|Overflow|Fail|NoPorts|NoRoutes|OutRsts|Challenge|Cookies|TimeWaitOverflow"


class LeakWatch:
    """Notes every frame that reaches the provider with a private source; there must be none."""

    def __init__(self, lab):
        self.isp, self.file = lab.host("isp"), lab.directory / "leaks.pcap"
        private = "src net 10.0.0.0/8 or (arp and arp[14:4] & 0xff000000 = 0x0a000000)"
        self.isp.start("tcpdump", "-Z", "root", "-i", "uplink", "-Q", "in", "--immediate-mode", "-U", "-w", self.file, private, label="leaks").wait_log("listening on")

    def require_none(self):
        text = self.isp.run("tcpdump", "-nn", "-r", self.file).stdout
        require(not text, f"left untranslated: {text.strip()[:200]}")


def counted(lab, gateway):
    """What every counter says of frames that did not arrive, where something failed."""
    if gateway.process and gateway.process.alive():
        with contextlib.suppress(LabError):
            yield f"the gateway dropped {gateway.drops(chatter=True)}, its ports {gateway.missed()}, its books are {gateway.status()['books']}"
    yield f"interfaces dropped {interface_drops(lab.namespaces.values())}"
    for name in RECEIVERS:
        amiss = {counter: count for counter, count in snmp(lab.host(name)).items() if count and re.search(AMISS, counter)}
        if amiss:
            yield f"the kernel of {name} counted {amiss}"


def attempt(test, lab, leaks):
    """Runs one test with its own gateway; returns what went wrong, or nothing."""
    gateway = Natgate(lab, lab.directory / test.__name__[:40])
    try:
        # A sender that has learnt a path's MTU cuts datagrams itself; the gateway's packet socket puts the pieces together
        # again, and the kernel then counts more frames than the gateway gets.
        lab.forget_path_mtus()
        test(lab, gateway)
        books_close(lab, gateway)
        gateway.stop()
        leaks.require_none()
    except (Failed, LabError) as failed:
        return "\n".join((str(failed), *counted(lab, gateway), gateway.log_tail()))
    except Exception:  # A test's own mistake fails that test, not the run.
        return traceback.format_exc()
    finally:
        for process in (gateway.process, gateway.feed):
            if process:
                process.kill()
        gateway.region.unlink(missing_ok=True)
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="run only tests whose name contains one of these")
    parser.add_argument("--counts", help="write 'PASSED FAILED SKIPPED' to this file")
    arguments = parser.parse_args()
    chosen = [test for test in TESTS if not arguments.names or any(name in test.__name__ for name in arguments.names)]
    if not chosen:
        sys.exit("assembly: no test has such a name")
    failed = 0
    with Laboratory() as lab:
        leaks = LeakWatch(lab)
        for test in chosen:
            began = time.monotonic()
            fault = attempt(test, lab, leaks)
            failed += fault is not None
            print(f"  {'FAIL' if fault else 'ok  '} {test.__name__} ({time.monotonic() - began:.1f} s)", flush=True)
            if fault:
                print("       " + fault.replace("\n", "\n       "), flush=True)
    if arguments.counts:
        with open(arguments.counts, "w", encoding="ascii") as counts:
            counts.write(f"{len(chosen) - failed} {failed} 0\n")
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LabError as error:
        sys.exit(f"assembly: {error}")
