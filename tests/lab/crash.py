"""`kill -9` under load: `crash.py [--seconds 300] [--every 10] [--tcp 100] [--udp 4000]`, as root.

Two tenants with the same addresses keep TCP connections and UDP flows open through the gateway while it is killed and
started again, each time with its routers in another order and another number of workers (2, 1, 2, ...). All flows must
go on as if nothing had happened but a pause: the same connections with every byte, the same external endpoints, as many
ports in use and held as before, and nothing of one tenant's at the other's.
"""

import argparse
import json
import sys
import time

from clients import Failed, require
from gateway import RULES, Natgate
from netns import LabError
from topology import ENDURE, WEB, Laboratory

TENANTS = ("a1", "b1")
WORKERS = (2, 1)


def in_another_order(rules):
    """The same rules with the routers listed the other way round."""
    head, routers = rules.split("\nrouters:\n")
    first, second = routers.split("\n\n  - id:")
    return f"{head}\nrouters:\n  - id:{second.rstrip()}\n\n{first}\n"


def ports_used(gateway):
    """External ports in use or in hold-down, by address."""
    return {pool["address"]: pool["ports_used"] for pool in gateway.ask("pools")}


def kill_9(gateway):
    gateway.process.kill()


def survive(lab, gateway, *, seconds, every, tcp, udp, end=kill_9):
    """Runs the load and ends the gateway again and again; returns what is worth printing. Raises `Failed` for what broke."""
    report = gateway.directory / "endured.json"
    server = lab.host("web").start_python("endure.py", "serve", ENDURE, report, label="endure-server")
    server.wait_listening("tcp", ENDURE)
    orders = (RULES, in_another_order(RULES))
    gateway.configure(workers=WORKERS[0])
    gateway.start()
    clients = {
        name: lab.host(name).start_python(
            "endure.py", "ask", WEB, ENDURE, name, tcp // 2, udp // 2, seconds, label="endure", own_output=True
        )
        for name in TENANTS
    }
    began = time.monotonic()
    # All flows are open and every one has had its first answer before the first blow.
    time.sleep(min(5.0, every))
    blows = []
    while time.monotonic() - began + every <= seconds:
        before, sessions_before = ports_used(gateway), gateway.status()["sessions"]
        workers = WORKERS[(len(blows) + 1) % len(WORKERS)]
        killed = time.monotonic()
        end(gateway)
        gateway.configure(workers=workers)
        gateway.write_rules(orders[(len(blows) + 1) % len(orders)])
        gateway.start(under_load=True)
        back = time.monotonic()
        after = ports_used(gateway)
        require(after == before, f"ports in use and held were {before}, are {after} after blow {len(blows) + 1}")
        blows.append({"at": round(killed - began, 1), "workers": workers, "down_s": round(back - killed, 3), "sessions": sessions_before})
        time.sleep(max(0.0, killed + every - time.monotonic()))
    reports = {name: json.loads(client.output(seconds + 60)) for name, client in clients.items()}
    server.stop()
    judge(reports, json.loads(report.read_text()), tcp, udp)
    require(blows, "nothing was killed")
    return blows, {name: report["gaps"] for name, report in reports.items()}, reports


def judge(reports, server, tcp, udp):
    for name, report in reports.items():
        require(not report["broken"], f"{name}: {len(report['broken'])} connections broke: {dict(list(report['broken'].items())[:3])}")
        require(not report["wrong_count"], f"{name}: {report['wrong_count']} wrong answers: {report['wrong']}")
        require(report["udp_answered"] == udp // 2, f"{name}: {report['udp_answered']} of {udp // 2} UDP flows were ever answered")
    sent = {flow: count for report in reports.values() for flow, count in report["tcp"].items()}
    require(len(sent) == tcp, f"{len(sent)} connections instead of {tcp}")
    received = {}
    for connection, count in server["tcp"].items():
        flow = connection.split()[0]
        require(flow not in received, f"{flow} needed a second connection")
        received[flow] = count
    require(received == sent, "the bytes counted at both hosts differ")
    moved = {flow: endpoints for flow, endpoints in server["udp"].items() if len(endpoints) > 1}
    require(not moved, f"{len(moved)} UDP flows changed their external endpoint: {dict(list(moved.items())[:3])}")


def print_report(blows, gaps, reports):
    for blow in blows:
        seen = [gap for one in gaps.values() for at, gap in one if abs(at - blow["at"]) < 2.5]
        print(f"  {blow['at']:6.1f} s  kill -9, back with {blow['workers']} worker(s); {blow['sessions']} sessions; no answer for {max(seen, default=0):.2f} s; rules confirmed after {blow['down_s']:.2f} s")
    total = sum(sum(report["tcp"].values()) for report in reports.values())
    answers, asked = (sum(report[key] for report in reports.values()) for key in ("udp_answers", "udp_sent"))
    print(f"  {sum(len(report['tcp']) for report in reports.values())} TCP connections lived through {len(blows)} kills; {total} bytes at both ends")
    print(f"  UDP: {answers} of {asked} datagrams answered; every flow kept its external endpoint")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--every", type=float, default=10)
    parser.add_argument("--tcp", type=int, default=100)
    parser.add_argument("--udp", type=int, default=4000)
    arguments = parser.parse_args()
    with Laboratory() as lab:
        gateway = Natgate(lab)
        try:
            print_report(*survive(lab, gateway, seconds=arguments.seconds, every=arguments.every, tcp=arguments.tcp, udp=arguments.udp))
        except (Failed, LabError) as failed:
            print(f"  FAIL {failed}\n{gateway.log_tail()}")
            return 1
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LabError as error:
        sys.exit(f"crash: {error}")
