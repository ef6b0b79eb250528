"""Real clients, and what they said in a form that can be compared.

Each function runs one well-known program in one host and returns its answer; a program that could not do its work
raises `Failed` with the program's own words.
"""

import collections
import json
import re
import time

from topology import ECHO, IPERF

Curl = collections.namedtuple("Curl", "status body seconds")
Ping = collections.namedtuple("Ping", "sent received output")
Hop = collections.namedtuple("Hop", "ttl address")

# What a check hands back: what was tried, what came back, and figures for the README.
Saw = collections.namedtuple("Saw", "tried result figures", defaults=({},))


class Failed(Exception):
    """The traffic did not do what it should: says what was seen."""


def curl_command(url, *options):
    return ["curl", "-sS", "--max-time", "30", "--connect-timeout", "5", *options, "-w", "\n%{http_code} %{time_total}", url]


def curl_answer(output):
    body, _, tail = output.rpartition("\n")
    status, seconds = tail.split()
    return Curl(int(status), body.strip(), float(seconds))


def curl(host, url, *options):
    done = host.run(*curl_command(url, *options), check=False, timeout=40)
    if done.returncode != 0:
        raise Failed(f"curl {url}: {done.stderr.strip() or f'exit code {done.returncode}'}")
    return curl_answer(done.stdout)


def curl_together(url, *hosts):
    """The same request from several hosts at the same time; answers in the hosts' order."""
    started = [host.start(*curl_command(url), own_output=True) for host in hosts]
    return [curl_answer(process.output(40)) for process in started]


def seen(answer):
    """The address and port a server of the laboratory saw, from its answer "NAME saw ADDRESS:PORT"."""
    match = re.search(r"saw ([\d.]+):(\d+)$", answer.body)
    if answer.status != 200 or not match:
        raise Failed(f"HTTP {answer.status}: {answer.body!r}")
    return match[1], int(match[2])


def ping(host, address, *options, count=3):
    done = host.run("ping", "-n", "-c", count, "-i", "0.2", "-W", "2", *options, address, check=False)
    counts = re.search(r"(\d+) packets transmitted, (\d+) received", done.stdout)
    if not counts:
        raise Failed(f"ping {address}: {(done.stderr or done.stdout).strip()}")
    return Ping(int(counts[1]), int(counts[2]), done.stdout)


def dig(host, server, name, *options):
    done = host.run("dig", "+short", "+tries=2", "+time=2", *options, f"@{server}", name, check=False)
    answer = done.stdout.strip()
    if done.returncode != 0 or not re.fullmatch(r"[\d.]+", answer):
        raise Failed(f"dig {name} @{server}: {answer or done.stderr.strip()}")
    return answer


def traceroute(host, address, *options):
    """Each hop by the first of three probes that is answered: on processors that have much else to do, a kernel of the
    laboratory's may lose one. Whether the gateway did is for its counters to say."""
    done = host.run("traceroute", "-n", "-q", "3", "-w", "2", "-m", "8", *options, address, check=False)
    hops = [Hop(int(ttl), hop) for ttl, hop in re.findall(r"^ *(\d+) +(?:\* )*(\S+)", done.stdout, re.MULTILINE)]
    if not hops:
        raise Failed(f"traceroute {address}: {(done.stderr or done.stdout).strip()}")
    return hops


def iperf(host, address, *options, seconds=3):
    """One run. The server may still be at the end of the run before, as two flows keep no order between them: try again."""
    for _ in range(10):
        done = host.run("iperf3", "-c", address, "-p", IPERF, "-t", seconds, "-J", "--connect-timeout", "5000", *options, check=False, timeout=seconds + 30)
        try:
            report = json.loads(done.stdout)
        except json.JSONDecodeError as garbled:
            raise Failed(f"iperf3 {address}: {(done.stderr or done.stdout).strip()}") from garbled
        if "error" not in report:
            return report["end"]
        if not re.search("server is busy|unable to connect to server: Connection reset", report["error"]):
            break
        time.sleep(0.2)
    raise Failed(f"iperf3 {address}: {report['error']}")


def flows(host, address, protocol, count):
    """`count` flows at once to the echo server; see flows.py."""
    process = host.start_python("flows.py", "ask", address, ECHO, protocol, count, label=f"flows-{protocol}", own_output=True)
    return json.loads(process.output(90))


def snmp(host):
    """The host's kernel counters (`/proc/net/snmp`) as {"Udp.InErrors": 0, ...}."""
    counters = {}
    for path in ("/proc/net/snmp", "/proc/net/netstat"):
        lines = host.run("cat", path).stdout.splitlines()
        for names, values in zip(lines[::2], lines[1::2]):
            group, _, names = names.partition(":")
            counters |= {f"{group}.{name}": int(value) for name, value in zip(names.split(), values.partition(":")[2].split())}
    return counters


def interface_drops(namespaces):
    """Frames that interfaces dropped, as {"switch/a1-eth0 tx": 3, ...}; what is zero is left out."""
    drops = {}
    for namespace in namespaces:
        for link in json.loads(namespace.run("ip", "-j", "-s", "link").stdout):
            for direction in ("rx", "tx"):
                lost = link["stats64"][direction]["dropped"] + link["stats64"][direction]["errors"]
                if lost:
                    drops[f"{namespace.name}/{link['ifname']} {direction}"] = lost
    return drops


def require(condition, otherwise):
    """Fails the check with what was seen instead."""
    if not condition:
        raise Failed(otherwise)

