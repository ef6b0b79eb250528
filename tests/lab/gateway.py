"""natgate in the laboratory's gateway namespace: start, ask, edit its rules, stop."""

import json
import os
import pathlib
import time

from clients import Saw, require
from netns import LabError
from topology import EXTERNAL

HERE = pathlib.Path(__file__).parent
REPOSITORY = HERE.parent.parent
BINARY = pathlib.Path(os.environ.get("NATGATE") or pathlib.Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")) / "release/natgate")
RULES = (HERE / "rules.yaml").read_text()
METRICS_URL = "http://127.0.0.1:9464/metrics"
# ARP between hosts reaches every port of a switch; it is not traffic that anyone sent through the gateway.
CHATTER = {"arp_not_for_us"}


def books_close(lab, gateway):
    """rx + originated = tx + consumed + dropped + held; what was dropped has a reason; the kernel counted the same frames."""
    status, drops = quiet_status(gateway), gateway.drops(chatter=True)
    books = status["books"]
    way_in, way_out = books["rx"] + books["originated"], books["tx"] + books["consumed"] + books["dropped"] + books["held"]
    require(way_in == way_out and books["balance"] == 0, f"the books do not close: {books}")
    # Asked for a moment later, so chatter may have added to them.
    require(books["dropped"] <= sum(drops.values()), f"{books['dropped']} dropped, but the reasons are {drops}")
    gateway.require_wires_agree()
    return Saw("natgate status: received + originated = transmitted + consumed + dropped + held", f"{way_in} frames in, {way_out} accounted for", {"books": books})


def quiet_status(gateway):
    """The status at a moment without a burst under way, which is when the books close; the last of many looks if there is
    none."""
    for _ in range(100):
        status = gateway.status()
        if status["books"]["balance"] == 0:
            break
        time.sleep(0.05)
    return status


class Natgate:
    """One run of the gateway after another, with the same state directory."""

    externals = {EXTERNAL}
    own_checks = (books_close,)

    def __init__(self, lab, directory=None):
        if not BINARY.exists():
            raise LabError(f"{BINARY} does not exist: build it with `cargo build --release -p natgate`")
        self.lab, self.namespace = lab, lab.host("gw")
        self.directory = directory or lab.directory
        self.directory.mkdir(exist_ok=True)
        self.rules, self.node = self.directory / "rules.yaml", self.directory / "node.yaml"
        self.admin, self.region = self.directory / "admin.sock", self.directory / "region"
        self.process = self.feed = None
        self.write_rules(RULES)
        self.configure(workers=1)

    def configure(self, *, workers):
        """Writes the node's configuration with this many workers: on the last cores, several on one where there are too few."""
        cores = sorted(os.sched_getaffinity(0), reverse=True)
        chosen = [cores[worker % len(cores)] for worker in range(workers)]
        self.node.write_text((HERE / "node.yaml").read_text().format(directory=self.directory, workers=chosen))

    def start(self, *, feed=None, under_load=False):
        """Starts it with the embedded feed, or with the one at the address `feed`, and waits for its first rules.

        Started under load, there is no moment at which the kernel's counts and natgate's can be compared.
        """
        source = ["--feed", feed] if feed else ["--rules", self.rules]
        label = f"natgate-{self.directory.name}"
        self.process = self.namespace.start(BINARY, "run", "--config", self.node, *source, label=label)
        try:
            self.wait(lambda: self.status()["generation"] > 0, "rules in force", 20)
        except LabError as error:
            raise LabError(f"{error}\n{self.log_tail()}") from error
        self.wires_before = None if under_load else self.wires()
        return self

    def start_feed(self):
        """Starts a feed of its own beside the gateway; returns its address."""
        address = f"unix:{self.directory}/feed.sock"
        self.feed = self.namespace.start(BINARY, "feed", "--rules", self.rules, "--listen", address, label="feed")
        return address

    def stop(self):
        """Ends it as an operator does; it must end cleanly."""
        code = self.process.stop()
        require(code == 0, f"natgate ended with code {code}")
        require("panicked" not in self.log(), "natgate panicked")

    def write_rules(self, text):
        """Replaces the rules file at once, as an editor does."""
        fresh = self.rules.with_suffix(".new")
        fresh.write_text(text)
        fresh.rename(self.rules)

    # What it says of itself.

    def command(self, *arguments):
        return [BINARY, *arguments, "--admin", self.admin]

    def ask(self, *arguments):
        """A question to the daemon, as JSON."""
        done = self.namespace.run(*self.command(*arguments, "-o", "json"), check=False)
        if done.returncode != 0:
            raise LabError(f"natgate {' '.join(arguments)}: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def status(self):
        return self.ask("status")

    def router(self, identity):
        return next(router for router in self.ask("routers") if router["id"] == identity)

    def drops(self, *, chatter=False):
        """Frames dropped by reason; reasons that never struck are left out."""
        counts = {}
        for row in self.ask("drops"):
            if row["count"] and (chatter or row["reason"] not in CHATTER):
                counts[row["reason"]] = counts.get(row["reason"], 0) + row["count"]
        return counts

    def missed(self):
        """Frames that the kernel dropped because a port's ring was full: they never reached the gateway."""
        return {f"{port['name']}.rx_missed": port["rx_missed"] for port in self.ask("status")["ports"]}

    def wires(self):
        """Frames by port and direction, as the kernel counted them less as natgate did, at a moment when none came."""
        while True:
            kernel, ours = self.kernel_frames(), {}
            for port in self.status()["ports"]:
                ours[f"{port['name']} rx"] = port["rx_frames"] + port["rx_missed"]
                ours[f"{port['name']} tx"] = port["tx_frames"]
            if kernel == self.kernel_frames():
                return {name: kernel[name] - count for name, count in ours.items()}

    def kernel_frames(self):
        links = json.loads(self.namespace.run("ip", "-j", "-s", "link").stdout)
        return {f"{link['ifname']} {way}": link["stats64"][way]["packets"] for link in links for way in ("rx", "tx")}

    def require_wires_agree(self):
        """The ports' counters are the driver's; the veth under each port has counters of its own, and both must agree."""
        if self.wires_before is None:
            return
        deadline = time.monotonic() + 3
        while (wires := self.wires()) != self.wires_before:
            differ = {name: difference - self.wires_before[name] for name, difference in wires.items()}
            require(time.monotonic() < deadline, f"the kernel counted other frames than natgate: {differ}")
            time.sleep(0.05)

    def metrics(self):
        return self.namespace.run("curl", "-sS", "--max-time", "5", METRICS_URL).stdout

    def wait(self, condition, what, timeout):
        """Polls until `condition` holds; returns the moment it was seen to."""
        deadline, last = time.monotonic() + timeout, ""
        while time.monotonic() < deadline:
            if not self.process.alive():
                raise LabError(f"natgate ended with code {self.process.child.returncode}")
            try:
                if condition():
                    return time.monotonic()
            except LabError as error:
                last = str(error)
            time.sleep(0.02)
        raise LabError(f"no {what} within {timeout} s {last}")

    def cpu_seconds(self):
        """Processor time of all its threads so far: the scheduler's own account, as ticks would miss short naps."""
        tasks = pathlib.Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9

    def log(self):
        return self.process.log.read_text(errors="replace")

    def log_tail(self):
        return self.process.tail() if self.process else ""

    # What the demonstration shows.

    def about(self):
        return f"natgate runs as process {self.process.pid}"

    def how_to_ask(self):
        return " ".join(map(str, self.command("status")))

    def exhibits(self):
        """What an operator would look at next: title, text, lines to show."""
        for arguments, lines in ((("sessions", "list"), 8), (("drops",), 40), (("status",), 40)):
            yield f"natgate {' '.join(arguments)}", self.namespace.run(*self.command(*arguments), check=False).stdout, lines
        interesting = [line for line in self.metrics().splitlines() if line.startswith("natgate_") and not line.endswith(" 0")]
        yield f"{METRICS_URL} (what is not zero)", "\n".join(interesting), 25
