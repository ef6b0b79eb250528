"""The demonstration: real clients through the gateway, one line per check. `scripts/demo` runs it."""

import argparse
import json
import os
import pathlib
import platform
import signal
import sys

import checks
from clients import Failed
from gateway import Natgate
from kernel import Kernel
from netns import LabError
from topology import TENANT_HOSTS, Laboratory

COLOURS = {"ok": "32", "FAIL": "31", "head": "1", "dim": "2"} if sys.stdout.isatty() and "NO_COLOR" not in os.environ else {}


def paint(kind, text):
    return f"\033[{COLOURS[kind]}m{text}\033[0m" if kind in COLOURS else text


def say(kind, tried, result):
    print(f"  {paint(kind, f'{kind:<4}')} {tried}\n       {paint('dim', '->')} {result}", flush=True)


def heading(text):
    print(f"\n{paint('head', text)}", flush=True)


def show(title, text, lines):
    heading(title)
    shown = text.rstrip().splitlines()
    for line in shown[:lines]:
        print(f"  {line}")
    if len(shown) > lines:
        print(paint("dim", f"  ... and {len(shown) - lines} more lines"))


def attempt(check, lab, gateway, figures):
    """Runs one check and prints its line; True if it held."""
    try:
        with checks.no_bad_checksum(lab):
            saw = check(lab, gateway)
    except (Failed, LabError) as failed:
        say("FAIL", check.__name__.replace("_", " "), failed)
        return False
    figures[check.__name__] = {"tried": saw.tried, "result": saw.result, **saw.figures}
    say("ok", saw.tried, saw.result)
    return True


def hold(lab, gateway):
    a1 = lab.host("a1").full
    heading("The laboratory stays up. Ctrl-C ends it and removes everything.")
    print(f"""  hosts     {', '.join(f'{host.full}' for host in lab.namespaces.values())}
  try       ip netns exec {a1} curl http://198.51.100.10/
            ip netns exec {a1} ping 198.51.100.10
  rules     edit {lab.directory}/rules.yaml: a saved file is in force within a second
  ask       {gateway.how_to_ask()}
  logs      {lab.directory}/*.log""", flush=True)
    signal.pause()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hold", action="store_true", help="leave everything running to play with, until Ctrl-C")
    parser.add_argument("--figures", type=pathlib.Path, help="write the figures to this JSON file")
    parser.add_argument("--kernel", action="store_true", help="put the Linux kernel's NAT in the gateway's place: proves the laboratory itself")
    arguments = parser.parse_args()

    figures = {"machine": {"kernel": platform.release(), "cpus": os.cpu_count()}}
    heading("Building the laboratory: two tenants with the same addresses, a provider, servers")
    with Laboratory() as lab:
        gateway = (Kernel if arguments.kernel else Natgate)(lab)
        gateway.start()
        print(f"  {len(lab.namespaces)} namespaces, {len(TENANT_HOSTS)} tenant hosts; {gateway.about()}")
        heading("Real clients")
        passed = [attempt(check, lab, gateway, figures) for check in (*checks.DEMO, *gateway.own_checks)]
        for title, text, lines in gateway.exhibits():
            show(title, text, lines)
        if arguments.figures:
            arguments.figures.write_text(json.dumps(figures, indent=2) + "\n")
        heading(f"{sum(passed)} of {len(passed)} checks held")
        if not all(passed):
            print(gateway.log_tail())
        if arguments.hold:
            hold(lab, gateway)
    return 0 if all(passed) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LabError as error:
        sys.exit(f"demo: {error}")
    except KeyboardInterrupt:
        print("\n  stopped; everything is removed")
        sys.exit(130)
