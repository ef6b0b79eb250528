"""The devices under test: each is started on a link, tells which threads forward, and is stopped."""

import json
import math
import re
import shutil
import time

from generator import RELEASE, rules, start
from machine import threads
from netns import LabError, run

# One pool of packet buffers, huge pages.
MEMORY_MIB = 256
# As the generator's scenes have them (benches/src/scene.rs).
FLOWS_PER_HOST = 63
SHARDS = 16


def sessions_max(flows):
    """Room for so many flows in every shard, however the hosts fall: six standard deviations more than are due to it, and six hosts."""
    due = flows / FLOWS_PER_HOST / SHARDS
    return math.ceil(due + 6 * math.sqrt(due) + 6) * FLOWS_PER_HOST * SHARDS


class Natgate:
    name = "natgate"
    untranslated = False
    behind_a_hop = False

    def __init__(self, *, huge=True):
        self.huge = huge

    def missing(self, _):
        return None

    def start(self, world, link, core, scene, flows):
        directory = world.directory / "natgate"
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        (directory / "rules.yaml").write_text(rules(scene))
        self.region = world.directory / ("huge" if self.huge else "natgate") / "region"
        self.region.unlink(missing_ok=True)
        self.admin = directory / "admin.sock"
        node = {
            "node": "bench",
            "ports": [{"name": name, "device": link.device(index)} for index, name in enumerate(("inside", "outside"))],
            "workers": [core],
            "idle": "spin" if self.huge else "sleep",
            "hugepages": "required" if self.huge else "off",
            "memory_mib": MEMORY_MIB,
            "admin": str(self.admin),
            "state_dir": str(directory / "state"),
            "region": str(self.region),
            "shards": SHARDS,
            "sessions_max": sessions_max(flows),
            "external_addresses_max": 4_160 if scene == "cloud" else 64,
        }
        (directory / "node.yaml").write_text(json.dumps(node))
        argv = [RELEASE / "natgate", "run", "--config", directory / "node.yaml", "--rules", directory / "rules.yaml"]
        self.process = start(world, link.device_host, argv, "natgate")
        self._wait()

    def _wait(self):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if not self.process.alive():
                raise LabError(f"natgate ended:\n{self.process.tail()}")
            if self.admin.exists() and (self.ask("status") or {}).get("generation", 0) > 0:
                return
            time.sleep(0.05)
        raise LabError(f"natgate runs no rules:\n{self.process.tail()}")

    def ask(self, *question):
        done = run([str(RELEASE / "natgate"), *question, "--admin", str(self.admin), "-o", "json"], check=False)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def threads(self):
        return threads(self.process.pid, "worker-")

    def before_window(self):
        pass

    def after_window(self, window):
        pass

    def account(self):
        """What it says of the whole visit."""
        drops = {row["reason"]: row["count"] for row in self.ask("drops") or [] if row["count"]}
        return {"drops": drops}

    def stop(self):
        self.process.stop()
        self.region.unlink(missing_ok=True)


class Testpmd:
    """DPDK's own forwarder. It counts the clocks of turns that brought packets."""

    untranslated = True
    behind_a_hop = False

    def __init__(self, mode):
        self.mode, self.name = mode, f"testpmd {mode}"

    def missing(self, _):
        return None if shutil.which("dpdk-testpmd") else "testpmd is not installed (scripts/install --bench)"

    def start(self, world, link, core, scene, flows):
        # By lines, as to a terminal: it is read while it runs.
        argv = ["stdbuf", "-oL", "dpdk-testpmd", f"--lcores=0@{core},1@{core}", "--no-pci", "--in-memory", "--single-file-segments"]
        self.prefix = f"testpmd-{world.prefix}"
        argv += [f"--file-prefix={self.prefix}", "-m", MEMORY_MIB]
        argv += [f"--vdev={link.device(index)}" for index in (0, 1)]
        argv += ["--", "-i", "-a", "--no-mlockall", "--record-core-cycles", "--total-num-mbufs=32768"]
        argv += [f"--forward-mode={self.mode}", "--rxd=1024", "--txd=1024"]
        self.process = start(world, link.device_host, argv, "testpmd", own_input=True)
        self.process.wait_log("testpmd> ")

    def say(self, line):
        self.process.child.stdin.write(f"{line}\n".encode())
        self.process.child.stdin.flush()

    def threads(self):
        return threads(self.process.pid, "rte-worker") or threads(self.process.pid, "lcore-worker")

    def before_window(self):
        self.say("clear fwd stats all")

    def after_window(self, window):
        """Its own clocks a packet: of a device that waits for the generator, those of waiting left out."""
        before = self.told()
        self.say("show fwd stats all")
        deadline = time.monotonic() + 5
        while len(told := self.told()) == len(before):
            if time.monotonic() > deadline:
                raise LabError(f"testpmd tells no clocks:\n{self.process.tail()}")
            time.sleep(0.01)
        window["own_clocks"] = float(told[-1])

    def told(self):
        return re.findall(r"CPU cycles/packet=([\d.]+)", self.process.log.read_text(errors="replace"))

    def account(self):
        return {}

    def stop(self):
        if self.process.alive():
            self.say("quit")
        self.process.stop()
        # What DPDK leaves behind.
        shutil.rmtree(f"/run/dpdk/{self.prefix}", ignore_errors=True)
