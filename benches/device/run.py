#!/usr/bin/env python3
"""Whole gateways beside each other: natgate, testpmd, the Linux kernel; same generator, same traffic, round after round.

    scripts/bench --device [--json FILE] [--rounds N] [--only memif,vhost,virtio_user,af_packet] [--match "natgate|macswap"]
"""

import argparse
import contextlib
import itertools
import json
import pathlib
import re
import statistics
import sys

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "tests" / "lab"))

from generator import BINARY, RELEASE, Generator
from kernel import Kernel
from links import Memif, Veth, Vhost, Virtio
from machine import cores, huge_pages, room_for_connections
from netns import LabError, World
from peers import Grout, Vpp
from rows import Results, Subject
from under_test import Natgate, Testpmd

FLOWS = (1_000, 1_000_000)
LINKS = {link.name: link for link in (Memif, Vhost, Virtio, Veth)}
# For latencies, where a device carries as much: frames a second, both ways together.
PACE = {"memif": 1e6, "vhost": 1e6, "virtio_user": 1e6, "af_packet": 2e5}
# Region, packet buffers of both sides.
MEMORY_MIB = 3_800


def subjects(links):
    """What is measured, in the order of a round: link, device, scene; and whether its latencies are."""
    macswap = Testpmd("macswap")
    for link in links:
        if link == "af_packet":
            yield link, Natgate(), "plain", True
            yield link, Testpmd("io"), "plain", False
            yield from ((link, Kernel(what), "plain", what != "route") for what in ("route", "masquerade", "snat", "flowtable"))
            continue
        yield link, Natgate(), "cloud", True
        yield link, macswap, "cloud", True
        if link == "memif":
            yield from ((link, Testpmd(mode), "cloud", False) for mode in ("io", "5tswap"))
            yield from ((link, device, "plain", True) for device in (Natgate(), Vpp(), Grout()))


def visit(world, options, number, device, subject, is_paced, results):
    """One device on one link: start, open the flows, all windows, stop. `is_paced`: with windows at a rate, for latencies."""
    generator_core, device_core = cores()
    scene, flows = subject.scene, subject.flows
    with LINKS[subject.link](world) as link, contextlib.ExitStack() as at_the_end:
        at_the_end.callback(end, world, len(world.processes))

        def device_start():
            device.start(world, link, device_core, scene, flows)
            at_the_end.callback(device.stop)

        if link.device_first:
            device_start()
        generator = Generator(
            world, link, generator_core, scene, flows,
            untranslated=device.untranslated, behind_a_hop=device.behind_a_hop, seconds=options.seconds, seed=number + 1,
        )
        at_the_end.callback(generator.stop)
        if not link.device_first:
            device_start()
        try:
            opened = generator.opened()
        except LabError as error:
            raise LabError(f"{error}\n{device.account()}") from error

        def window(pace, rate):
            device.before_window()
            seen = generator.play(rate, device.threads())
            seen["clock_ghz"] = opened["clock_ghz"]
            device.after_window(seen)
            results.add(subject, number, pace, seen)
            return seen

        def windows(pace, rate):
            return [window(pace, rate) for _ in range(options.windows)]

        found = statistics.median(seen["received_in_time"] / seen["seconds"] for seen in windows("full", 0))
        pace = PACE[subject.link]
        if is_paced and found > 1.2 * pace:
            windows(f"{pace / 1e6:g} million a second", pace)
        if is_paced:
            windows("half of its rate", found / 2)
        results.accounts[subject] = device.account() | {"opened": opened["opened"]}


def end(world, before):
    """Ends whatever a visit started and did not stop."""
    while len(world.processes) > before:
        world.processes.pop().kill()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=pathlib.Path, default=RELEASE.parent / "bench" / "device.jsonl")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--windows", type=int, default=3, help="of each visit")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each window")
    parser.add_argument("--flows", type=lambda text: [int(word) for word in text.split(",")], default=FLOWS)
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(LINKS), help=", ".join(LINKS))
    parser.add_argument("--match", default="", help="what is measured: a part of its name, as rows have it")
    options = parser.parse_args()
    if not BINARY.exists():
        sys.exit(f"{BINARY} does not exist: run scripts/bench --device")
    results, failures = Results(), 0
    try:
        with World() as world, huge_pages(MEMORY_MIB, world.directory / "huge"), room_for_connections(1 << 22):
            measured = []
            for subject in subjects(options.only):
                if reason := subject[1].missing(world):
                    print(f"skipped: {reason}")
                else:
                    measured.append(subject)
            for number in range(options.rounds):
                for (link, device, scene, is_paced), flows in itertools.product(measured, options.flows):
                    subject = Subject(link, device.name, scene, flows)
                    if not re.search(options.match, str(subject)):
                        continue
                    print(f"round {number + 1} of {options.rounds}: {subject}", file=sys.stderr)
                    try:
                        visit(world, options, number, device, subject, is_paced, results)
                    except LabError as error:
                        failures += 1
                        print(f"failed: {subject}: {error}", file=sys.stderr)
    except LabError as error:
        sys.exit(f"device: {error}")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    with open(options.json, "w") as file:
        for row in results.rows():
            file.write(json.dumps(row) + "\n")
            if " at " not in row["row"]:
                show(row)
    if failures:
        sys.exit(f"device: {failures} visits failed")


def show(row):
    """The row as a line; of one that was not measured, what all windows gave, whatever else went on."""
    every = row["extra"]["all_windows"]
    value = row["value"] if row["value"] is not None else f"- ({every['least']}, {every['median']}, {every['most']})"
    goal = f", goal {row['goal']}" if row["goal"] is not None else ""
    print(f"{row['row']}: {value} {row['unit']}{goal}. {row['note']}")


if __name__ == "__main__":
    main()
