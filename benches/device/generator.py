"""The generator beside a device under test: started once a visit, asked for one window after another."""

import json
import os
import pathlib
import select
import subprocess

from machine import heavy
from netns import LabError, Process, run

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
RELEASE = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")) / "release"
BINARY = pathlib.Path(os.environ.get("GENERATOR") or RELEASE / "generator")
# A million flows are opened at the kernel's pace.
OPENING_S = 300


def rules(scene):
    """What a gateway of this scene is fed."""
    return run([str(BINARY), "rules", scene]).stdout


def start(world, host, argv, label, **own):
    """Starts a program in a namespace, or outside of all."""
    inside = host.inside(argv) if host else [str(word) for word in argv]
    log = world.directory / f"{label}.log"
    # Another visit's would be taken for this one's.
    log.unlink(missing_ok=True)
    process = Process(inside, log, **own)
    world.processes.append(process)
    return heavy(process)


class Generator:
    def __init__(self, world, link, core, scene, flows, *, untranslated=False, behind_a_hop=False, look_at=256, seconds=1.0, seed=1):
        argv = [BINARY, "play", "--scene", scene, "--flows", flows, "--core", core, "--seconds", seconds, "--seed", seed, "--under-way", link.under_way]
        argv += ["--look-at", look_at]
        argv += ["--inside", link.generator(0), "--outside", link.generator(1)]
        argv += ["--untranslated"] if untranslated else []
        argv += ["--behind-a-hop"] if behind_a_hop else []
        self.process = start(world, link.generator_host, argv, "generator", own_output=True, own_input=True)
        self.unread = b""

    def opened(self):
        """Waits until all flows are open."""
        return self._line(OPENING_S)

    def play(self, rate, threads, timeout=60):
        """One window: `rate` frames a second, or 0 for as many as the device takes."""
        line = " ".join(map(str, (rate, *threads)))
        self.process.child.stdin.write(f"{line}\n".encode())
        self.process.child.stdin.flush()
        return self._line(timeout)

    def stop(self):
        """It ends with its input, and takes DPDK's files with it."""
        self.process.child.stdin.close()
        try:
            self.process.child.wait(5)
        except subprocess.TimeoutExpired:
            self.process.stop()

    def _line(self, timeout):
        output = self.process.child.stdout
        while b"\n" not in self.unread:
            ready, _, _ = select.select([output], [], [], timeout)
            piece = os.read(output.fileno(), 65_536) if ready else b""
            if not piece:
                said = self.process.log.read_text(errors="replace").split("\nStack backtrace")[0].strip()
                raise LabError(f"the generator said nothing more: {said}")
            self.unread += piece
        line, self.unread = self.unread.split(b"\n", 1)
        return json.loads(line)
