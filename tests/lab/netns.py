"""Network namespaces that leave nothing behind.

Every name carries this process's id (`ngl4711-web`), so two laboratories never meet, and what a killed one left is
known by a process id that no longer lives. Every program started here dies with us (`setpriv --pdeathsig`), is known by
its own process id, and is ended by that alone: nothing is ever found by name. Traffic stays in the namespaces: no cable
leads to the machine's own network.

There are no threads here, on purpose: the kernel's parent-death signal fires when the *thread* that started a child
ends.
"""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

PREFIX = "ngl"

# The clients' answers are read by their English words.
os.environ["LC_ALL"] = "C"


# Goes before every command line: the kernel ends the program when we end, even by SIGKILL.
WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")


class LabError(Exception):
    """The laboratory itself failed (not the gateway in it): says what was run and what came back."""


def run(argv, *, stdin=None, timeout=30, check=True):
    """Runs a program to its end and returns it, with its output as text."""
    try:
        done = subprocess.run([*WITH_US, *argv], input=stdin, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired as late:
        raise LabError(f"`{' '.join(argv)}` did not end within {timeout} s") from late
    if done.returncode == 127:
        raise LabError(f"{done.stderr.strip()}: run scripts/install")
    if check and done.returncode != 0:
        raise LabError(f"`{' '.join(argv)}` failed ({done.returncode}): {(done.stderr or done.stdout).strip()}")
    return done


class Process:
    """A running program, its log, and the only way to end it: by its own process group."""

    def __init__(self, argv, log, *, own_output=False, own_input=False):
        self.argv, self.log = argv, pathlib.Path(log)
        with open(self.log, "ab") as sink:
            self.child = subprocess.Popen(
                [*WITH_US, *argv],
                stdin=subprocess.PIPE if own_input else subprocess.DEVNULL,
                stdout=subprocess.PIPE if own_output else sink,
                stderr=sink,
                start_new_session=True,
            )

    @property
    def pid(self):
        return self.child.pid

    def alive(self):
        return self.child.poll() is None

    def output(self, timeout):
        """Waits for a good end; returns what it printed (only with `own_output`)."""
        try:
            printed = self.child.communicate(timeout=timeout)[0].decode()
        except subprocess.TimeoutExpired as late:
            self.kill()
            raise LabError(f"`{' '.join(self.argv)}` did not end within {timeout} s") from late
        if self.child.returncode != 0:
            raise LabError(f"`{' '.join(self.argv)}` failed ({self.child.returncode}):\n{self.tail()}")
        return printed

    def stop(self, timeout=10):
        """Asks it to end (SIGTERM), insists after `timeout`; returns its exit code."""
        if self.alive():
            self._signal(signal.SIGTERM)
            try:
                self.child.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
        return self.child.wait()

    def kill(self):
        """Ends it as a crash would (SIGKILL)."""
        if self.alive():
            self._signal(signal.SIGKILL)
        return self.child.wait()

    def _signal(self, number):
        try:
            os.killpg(self.child.pid, number)
        except ProcessLookupError:
            # It has not reached its own session yet, or has just ended.
            self.child.send_signal(number)

    def tail(self, lines=15):
        text = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(text[-lines:])

    def wait_log(self, text, timeout=10):
        """Waits until the program has logged `text`."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if text in self.log.read_text(errors="replace"):
                return self
            if not self.alive():
                break
            time.sleep(0.02)
        raise LabError(f"`{' '.join(self.argv)}` did not say {text!r}:\n{self.tail()}")

    def wait_listening(self, protocol, port, timeout=10):
        """Waits until something in this program's namespace listens on the port."""
        state = {"tcp": "0A", "udp": "07"}[protocol]
        wanted = re.compile(rf"^\s*\d+: [0-9A-F]+:{port:04X} \S+ {state} ", re.MULTILINE)
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if not self.alive():
                raise LabError(f"`{' '.join(self.argv)}` ended at once:\n{self.tail()}")
            try:
                if wanted.search(pathlib.Path(f"/proc/{self.pid}/net/{protocol}").read_text()):
                    return self
            except OSError:
                pass
            time.sleep(0.02)
        raise LabError(f"`{' '.join(self.argv)}` does not listen on {protocol} port {port}:\n{self.tail()}")


class Namespace:
    """One host of the laboratory."""

    def __init__(self, world, name):
        self.world, self.name, self.full = world, name, f"{world.prefix}-{name}"

    def inside(self, argv):
        """The command line that runs `argv` in here.

        `ip netns exec` would also remount /sys, which nothing here needs and which fails in a plain chroot.
        """
        return ["nsenter", f"--net=/run/netns/{self.full}", "--", *map(str, argv)]

    def run(self, *argv, **options):
        return run(self.inside(argv), **options)

    def start(self, *argv, label=None, own_output=False):
        """Starts a program that runs beside us; it ends with the world at the latest."""
        label = label or pathlib.Path(str(argv[0])).name
        process = Process(self.inside(argv), self.world.directory / f"{self.name}-{label}.log", own_output=own_output)
        self.world.processes.append(process)
        return process

    def start_python(self, script, *arguments, label=None, own_output=False):
        """Starts one of the laboratory's own programs."""
        path = pathlib.Path(__file__).parent / script
        return self.start(sys.executable, path, *arguments, label=label or path.stem, own_output=own_output)

    def sysctl(self, *settings):
        self.run("sysctl", "-qw", *settings)


class World:
    """All namespaces and programs of one laboratory. A context manager: on the way out everything is gone."""

    def __init__(self):
        if os.geteuid() != 0:
            raise LabError("network namespaces need root: run this as root (or with sudo)")
        self.prefix = f"{PREFIX}{os.getpid()}"
        self.processes, self.namespaces = [], {}
        self.directory = None

    def __enter__(self):
        remove_what_dead_laboratories_left()
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix=f"{self.prefix}-", dir="/run"))
        # SIGTERM and a closed terminal unwind like Ctrl-C, so that `__exit__` runs.
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda signum, _: sys.exit(128 + signum))
        return self

    def __exit__(self, *_):
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        for process in reversed(self.processes):
            process.kill()
        for namespace in self.namespaces.values():
            run(["ip", "netns", "delete", namespace.full], check=False)
        shutil.rmtree(self.directory, ignore_errors=True)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def add(self, name):
        """A new host: loopback up, no IPv6 (its chatter would be in every count), no bridge filtering."""
        namespace = Namespace(self, name)
        run(["ip", "netns", "add", namespace.full])
        self.namespaces[name] = namespace
        namespace.run("ip", "link", "set", "lo", "up")
        namespace.sysctl("net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")
        return namespace

    def cable(self, one, one_end, other, other_end):
        """A cable between two hosts, both ends up.

        Transmit offloads are off at both: a frame then carries its full checksum, as on a wire. With them on (veth's
        default) the kernel leaves the pseudo-header's sum for a NIC that does not exist.
        """
        run(["ip", "link", "add", one_end, "netns", one.full, "type", "veth", "peer", "name", other_end, "netns", other.full])
        for namespace, end in ((one, one_end), (other, other_end)):
            namespace.run("ethtool", "-K", end, "tx", "off")
            namespace.run("ip", "link", "set", end, "up")


def remove_what_dead_laboratories_left():
    """A laboratory that was killed outright (SIGKILL) could not clean up; its programs died with it."""
    for line in run(["ip", "netns", "list"], check=False).stdout.splitlines():
        name = line.split()[0]
        match = re.fullmatch(rf"{PREFIX}(\d+)-\w+", name)
        if match and not pathlib.Path(f"/proc/{match[1]}").exists():
            run(["ip", "netns", "delete", name], check=False)
    for directory in pathlib.Path("/run").glob(f"{PREFIX}*-*"):
        match = re.match(rf"{PREFIX}(\d+)-", directory.name)
        if match and not pathlib.Path(f"/proc/{match[1]}").exists():
            shutil.rmtree(directory, ignore_errors=True)
