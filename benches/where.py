#!/usr/bin/env python3
"""Where the instructions of a packet are: scripts/gate --where KIND.

    where.py BENCHES KIND PACKETS LEAST     a tree of functions, those inlined into others below them, down to LEAST instructions
                                            a packet

What is counted is the difference between a run of so many packets and one of twice as many, as scripts/gate counts it. Which source
line an instruction is of says the compiler, and not always well: what was moved out of a loop may stand at the loop's first line.
"""

import collections
import re
import subprocess
import sys
import tempfile
from pathlib import Path


def counted(benches, kind, packets, directory):
    """How often each address was executed."""
    dump = Path(directory) / "dump"
    command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={dump}", "--toggle-collect=benches::worker::process"]
    command += ["--dump-instr=yes", "--compress-strings=no", "--compress-pos=no"]
    command += [benches, "walk", kind, str(packets), "--planted", "0"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    counts = collections.Counter()
    is_of_call = False
    for line in dump.read_text().splitlines():
        if line.startswith("calls="):
            # The next line is what the called function took.
            is_of_call = True
        elif position := re.fullmatch(r"0x([0-9a-f]+) \S+ (\d+)", line):
            if not is_of_call:
                counts[int(position[1], 16)] += int(position[2])
            is_of_call = False
    return counts


def frames(benches, addresses):
    """For each address the functions it is of, outermost first: name, and the line in it."""
    asked = "\n".join(map(hex, addresses))
    command = ["addr2line", "-e", benches, "-i", "-f", "-C", "-a"]
    answer = subprocess.run(command, check=True, input=asked, text=True, capture_output=True).stdout.splitlines()
    of, address = {}, None
    lines = iter(answer)
    for line in lines:
        if line.startswith("0x"):
            address = int(line, 16)
            of[address] = []
        else:
            place = next(lines).split("/")[-1].split(" ")[0]
            of[address].insert(0, (plain(line), place))
    return of


def plain(name):
    """A function's name without its generics, its crate's number and its hash."""
    name = re.sub(r"::h[0-9a-f]{16}$", "", name).replace("->", "")
    while (shorter := re.sub(r"<[^<>]*>", "", name)) != name:
        name = shorter
    return "::".join(part for part in name.split("::")[-2:] if part) or name


def tree(instructions, frames_of):
    root = {}
    for address, count in instructions.items():
        below = root
        # Where a function was inlined says the line in the function around it.
        for (name, _), (_, called_at) in zip(frames_of[address], [("", "")] + frames_of[address]):
            node = below.setdefault(f"{name}  {called_at}".rstrip(), [0, {}])
            node[0] += count
            below = node[1]
    return root


def show(node, least, depth=0):
    for name, (count, below) in sorted(node.items(), key=lambda entry: -entry[1][0]):
        if count >= least:
            print(f"{'    ' * depth}{count:7.1f}  {name}")
            show(below, least, depth + 1)


def main(benches, kind, packets, least):
    packets = int(packets)
    with tempfile.TemporaryDirectory() as directory:
        once = counted(benches, kind, packets, directory)
        twice = counted(benches, kind, 2 * packets, directory)
    instructions = {address: (count - once[address]) / packets for address, count in twice.items()}
    instructions = {address: count for address, count in instructions.items() if count > 0}
    print(f"{sum(instructions.values()):7.1f}  instructions a packet, {kind}")
    show(tree(instructions, frames(benches, sorted(instructions))), float(least))


if __name__ == "__main__":
    main(*sys.argv[1:])
