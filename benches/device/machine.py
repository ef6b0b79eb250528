"""What the machine lends for a run and gets back: huge pages, a mount of them, room for connections; and its two cores."""

import contextlib
import os
import pathlib

from netns import LabError, run

HUGE_PAGES = pathlib.Path("/proc/sys/vm/nr_hugepages")
HUGE_PAGE_MIB = 2
# The kernel's table is one for all namespaces.
CONNECTIONS = pathlib.Path("/proc/sys/net/netfilter/nf_conntrack_max")
BUCKETS = pathlib.Path("/sys/module/nf_conntrack/parameters/hashsize")


def cores():
    """The generator's core and the device's."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise LabError("two cores are needed: one for the generator, one for the device under test")
    return allowed[0], allowed[1]


@contextlib.contextmanager
def huge_pages(mib, directory):
    """So many MiB more of huge pages, and a mount of them for the gateway's region."""
    pages = mib // HUGE_PAGE_MIB
    before = int(HUGE_PAGES.read_text())
    HUGE_PAGES.write_text(str(before + pages))
    got = int(HUGE_PAGES.read_text()) - before
    try:
        if got < pages:
            raise LabError(f"{pages} huge pages are needed, the kernel had {got}")
        directory.mkdir()
        run(["mount", "-t", "hugetlbfs", "none", str(directory)])
        try:
            yield directory
        finally:
            run(["umount", str(directory)], check=False)
    finally:
        HUGE_PAGES.write_text(str(max(0, int(HUGE_PAGES.read_text()) - got)))


@contextlib.contextmanager
def room_for_connections(count):
    """Room for so many connections in the kernel's table, where it has one."""
    if not CONNECTIONS.exists():
        yield
        return
    before = {path: path.read_text() for path in (CONNECTIONS, BUCKETS) if path.exists()}
    try:
        for path, text in before.items():
            path.write_text(str(max(int(text), count)))
        yield
    finally:
        for path, text in before.items():
            path.write_text(text)


def heavy(process):
    """Gives a program's session weight against others': niceness counts only within one session."""
    with contextlib.suppress(OSError):
        pathlib.Path(f"/proc/{process.pid}/autogroup").write_text("-11")
    return process


def threads(pid, name):
    """The threads of a process whose name begins so."""
    found = []
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            if (task / "comm").read_text().startswith(name):
                found.append(int(task.name))
    return found


def kernel_threads(name):
    """The kernel's threads whose name begins so."""
    found = set()
    for comm in pathlib.Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            if comm.read_text().startswith(name):
                found.add(int(comm.parent.name))
    return found


def ran_s(numbers):
    """How long these threads have run, all together."""
    return sum(int(pathlib.Path(f"/proc/{number}/schedstat").read_text().split()[0]) for number in numbers) / 1e9


def busy_s(core):
    """How long a core has been at anything."""
    line = next(line for line in pathlib.Path("/proc/stat").read_text().splitlines() if line.startswith(f"cpu{core} "))
    user, nice, system, _idle, _waiting, *rest = map(int, line.split()[1:])
    return (user + nice + system + sum(rest[:3])) / os.sysconf("SC_CLK_TCK")
