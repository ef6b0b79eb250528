"""Gateways that are measured where they are installed and are never built by us: VPP, grout. Neither was at hand when this was
written, from their documentation and tests; whatever goes wrong is told, and the run goes on without them.

Both have one router, with the hosts behind a next hop inside; the generator answers when they ask who has an address.
"""

import shutil
import time

from generator import start
from kernel import INSIDE_MAC, NEXT_HOP, OUTSIDE_MAC, POOL
from machine import threads
from netns import LabError, run

INSIDE, BEHIND = "172.16.0.1/24", "172.16.0.2"
OUTSIDE = "198.18.0.2/24"
SESSIONS = 1 << 21

VPP_START = """
unix {{ nodaemon nobanner cli-listen {directory}/vpp.cli log {directory}/vpp.log runtime-dir {directory} startup-config {directory}/vpp.setup }}
api-segment {{ prefix {prefix} }}
statseg {{ socket-name {directory}/vpp.stats }}
socksvr {{ socket-name {directory}/vpp.api }}
cpu {{ main-core 0 corelist-workers {core} }}
buffers {{ buffers-per-numa 65536 }}
plugins {{ plugin dpdk_plugin.so {{ disable }} }}
"""
VPP_SETUP = """
create memif socket id 1 filename {inside}
create memif socket id 2 filename {outside}
create interface memif id 0 socket-id 1 master
create interface memif id 0 socket-id 2 master
set interface mac address memif1/0 {inside_mac}
set interface mac address memif2/0 {outside_mac}
set interface ip address memif1/0 {inside_address}
set interface ip address memif2/0 {outside_address}
set interface state memif1/0 up
set interface state memif2/0 up
ip route add 10.0.0.0/8 via {behind} memif1/0
ip route add 0.0.0.0/0 via {next_hop} memif2/0
nat44 plugin enable sessions {sessions}
set interface nat44 in memif1/0 out memif2/0
nat44 add address {pool}
"""


class Peer:
    untranslated = False
    behind_a_hop = True

    def missing(self, _):
        return None if shutil.which(self.program) else f"{self.program} is not installed"

    def wait(self, is_ready):
        deadline = time.monotonic() + 30
        while not is_ready():
            if not self.process.alive() or time.monotonic() > deadline:
                raise LabError(f"{self.name} does not start:\n{self.process.tail()}")
            time.sleep(0.1)

    def before_window(self):
        pass

    def after_window(self, window):
        pass

    def account(self):
        return {}

    def stop(self):
        self.process.stop()


class Vpp(Peer):
    name, program = "VPP nat44-ed", "vpp"

    def start(self, world, link, core, scene, flows):
        self.directory = world.directory
        setup = VPP_SETUP.format(
            inside=link.socket(0), outside=link.socket(1), inside_mac=INSIDE_MAC, outside_mac=OUTSIDE_MAC, inside_address=INSIDE,
            outside_address=OUTSIDE, behind=BEHIND, next_hop=NEXT_HOP, sessions=SESSIONS, pool=POOL.replace("-", " - "),
        )
        (self.directory / "vpp.setup").write_text(setup)
        (self.directory / "vpp.conf").write_text(VPP_START.format(directory=self.directory, prefix=world.prefix, core=core))
        self.process = start(world, link.device_host, ["vpp", "-c", self.directory / "vpp.conf"], "vpp")
        self.wait(lambda: "memif2/0" in self.ask("show interface"))

    def ask(self, question):
        return run(["vppctl", "-s", f"{self.directory}/vpp.cli", question], check=False).stdout

    def threads(self):
        return threads(self.process.pid, "vpp_wk_0")

    def account(self):
        return {"sessions": self.ask("show nat44 summary").splitlines()}


class Grout(Peer):
    """It translates to one address, not to a pool."""

    name, program = "grout snat44", "grout"

    def start(self, world, link, core, scene, flows):
        self.socket = world.directory / "grout.sock"
        self.process = start(world, link.device_host, ["taskset", "-c", f"0,{core}", "grout", "-s", self.socket], "grout")
        self.wait(self.socket.exists)
        for index, (port, mac, address) in enumerate((("p0", INSIDE_MAC, INSIDE), ("p1", OUTSIDE_MAC, OUTSIDE))):
            self.say("interface", "add", "port", port, "devargs", link.device(index), "mac", mac)
            self.say("address", "add", address, "iface", port)
        self.say("route", "add", "10.0.0.0/8", "via", BEHIND)
        self.say("route", "add", "0.0.0.0/0", "via", NEXT_HOP)
        self.say("conntrack", "config", "set", "max", SESSIONS)
        self.say("snat44", "add", "interface", "p1", "subnet", "10.0.0.0/8", "replace", POOL.split("-")[0])

    def say(self, *words):
        run(["grcli", "-s", str(self.socket), *map(str, words)])

    def threads(self):
        return threads(self.process.pid, "grout:w")
