"""From windows to result rows: which windows count, medians, differences within a round."""

import dataclasses
import statistics

NEEDED = 10
WAITED_MAX = 0.05
MEMORY_NS_MAX = 200.0
# Above this share of the time nothing held the generator back: then it is the generator that limits the rate.
LIMITS_MAX = 0.95

CLOCKS, RATE, LATENCY, CPU, TIMES = "clocks a packet", "million packets a second", "us", "% of a core", "times"
OVER_TESTPMD = {1_000: 88, 1_000_000: 209}
OF_THE_KERNEL, RATE_OF_THE_KERNEL = 0.2, 1.0


@dataclasses.dataclass(frozen=True)
class Subject:
    """What a window is of."""

    link: str
    device: str
    scene: str
    flows: int

    def __str__(self):
        device = f"{self.device} with one router" if (self.device, self.scene) == ("natgate", "plain") else self.device
        return f"{device}, {self.link}, {self.flows} flows"


def objections(window):
    """Why a window does not count; nothing where it does."""
    if "against" in window:
        return window["against"]
    found = []
    if window["generator"]["waited"] > WAITED_MAX or window["device"]["waited"] > WAITED_MAX:
        found.append("a thread waited")
    if window["stolen"]:
        found.append("time was stolen")
    if window["memory_ns"] > MEMORY_NS_MAX:
        found.append("memory was slow")
    return found


def clocks(window):
    """Clocks that the device's threads ran for each packet that it delivered; or testpmd's own count, where that is less."""
    ran = window["device"]["ran"] * window["seconds"] * window["clock_ghz"] * 1e9 / max(1, window["received_in_time"])
    return min(ran, window.get("own_clocks", ran))


def rate(window):
    return window["received_in_time"] / window["seconds"] / 1e6


def lost(window):
    return max(0, window["lost"]) / max(1, window["sent"])


class Results:
    """All windows of a run, by what they are of."""

    def __init__(self):
        self.windows, self.accounts = {}, {}

    def add(self, subject, number, pace, window):
        """`pace`: "full", or the rate's name."""
        self.windows.setdefault((subject, pace), []).append((number, window))

    def rows(self):
        for (subject, pace), windows in self.windows.items():
            if pace == "full":
                yield from self._full(subject, windows)
            else:
                yield from self._paced(subject, pace, windows)
        yield from self._over_testpmd()
        yield from self._beside_the_kernel()

    def _full(self, subject, windows):
        note = limited(windows)
        if subject.device.startswith("testpmd"):
            note = "; ".join(filter(None, (note, "its own count of clocks where that is less")))
        extra = {
            "lost": summary(lost(window) for _, window in windows),
            "wrong": sum(window["wrong"] for _, window in windows),
            "looked_at": sum(window["looked_at"] for _, window in windows),
            "waited": summary(max(window["device"]["waited"], window["generator"]["waited"]) for _, window in windows),
            "generator_limits": summary(window["generator"]["limits"] for _, window in windows),
            **self.accounts.get(subject, {}),
        }
        yield row(str(subject), CLOCKS, None, windows, clocks, note, extra)
        yield row(str(subject), RATE, None, windows, rate, note, extra)

    def _paced(self, subject, pace, windows):
        for key, title in (("p50", "median"), ("p99", "99 %"), ("p999", "99.9 %")):
            extra = {"lost": summary(lost(window) for _, window in windows), "all": [window["latency_us"] for _, window in windows]}
            yield row(f"{subject}, latency at {pace}, {title}", LATENCY, None, windows, lambda window: window["latency_us"][key], "", extra)
        yield row(f"{subject}, CPU at {pace}", CPU, None, windows, lambda window: 100 * window["device"]["ran"], "", {})

    def _over_testpmd(self):
        """Natgate's clocks above those of testpmd's macswap on the same ports in the same round."""
        for (subject, pace), windows in self.windows.items():
            if (subject.device, pace) != ("natgate", "full") or subject.link == "af_packet":
                continue
            base = self._by_round(dataclasses.replace(subject, device="testpmd macswap", scene="cloud"), clocks)
            goal = OVER_TESTPMD.get(subject.flows) if (subject.link, subject.scene) == ("memif", "cloud") else None
            name = str(subject).replace(",", " over testpmd macswap,", 1)
            yield from self._compared(name, CLOCKS, goal, windows, [base], lambda window, macswap: clocks(window) - macswap)

    def _beside_the_kernel(self):
        """Natgate's clocks above testpmd's as a part of the kernel's above its own routing; its rate as a multiple of the kernel's."""
        for flows in sorted({subject.flows for subject, _ in self.windows}):
            macswap = self._by_round(Subject("memif", "testpmd macswap", "cloud", flows), clocks)
            routed = self._by_round(Subject("af_packet", "Linux route", "plain", flows), clocks)
            by_memory = self.windows.get((Subject("memif", "natgate", "plain", flows), "full"), [])
            by_veth = self.windows.get((Subject("af_packet", "natgate", "plain", flows), "full"), [])
            for what in ("masquerade", "snat", "flowtable"):
                kernel = Subject("af_packet", f"Linux {what}", "plain", flows)
                yield from self._compared(
                    f"natgate over testpmd macswap on memif, of Linux {what} over Linux route on veth, {flows} flows",
                    TIMES, OF_THE_KERNEL, by_memory, [macswap, self._by_round(kernel, clocks), routed],
                    lambda window, macswap, translated, routed: (clocks(window) - macswap) / max(1.0, translated - routed),
                )
                yield from self._compared(
                    f"natgate's rate of Linux {what}'s, af_packet, {flows} flows",
                    TIMES, RATE_OF_THE_KERNEL if flows == 1_000_000 else None, by_veth, [self._by_round(kernel, rate)],
                    lambda window, kernel: rate(window) / kernel, is_floor=True,
                )

    def _compared(self, name, unit, goal, windows, bases, figure, is_floor=False):
        """A row of windows beside what others gave in the same round: nothing where those were not tried."""
        pairs = []
        for number, window in windows:
            if all(number in base for base in bases):
                against = objections(window) or [why for base in bases for why in base[number][1]]
                pairs.append((number, {"figure": figure(window, *(base[number][0] for base in bases)), "against": against}))
        if pairs:
            note = limited(windows)
            wrong = sum(window["wrong"] for _, window in windows)
            yield row(name, unit, goal, pairs, lambda pair: pair["figure"], note, {"wrong": wrong}, is_floor)

    def _by_round(self, subject, figure):
        """Of each round the median of the windows that count, or of all, and why none counts."""
        rounds = {}
        for number, window in self.windows.get((subject, "full"), []):
            rounds.setdefault(number, []).append(window)
        answer = {}
        for number, windows in rounds.items():
            quiet = [window for window in windows if not objections(window)]
            why = [] if quiet else [f"{subject.device} was not measured"]
            answer[number] = (statistics.median(map(figure, quiet or windows)), why)
        return answer


def limited(windows):
    """In how many windows the rate is the generator's own."""
    count = sum(window["generator"]["limits"] > LIMITS_MAX for _, window in windows)
    return f"the generator limited {count} of {len(windows)} windows" if count else ""


def summary(values):
    values = sorted(values)
    return {"least": values[0], "median": statistics.median(values), "most": values[-1]} if values else {}


def row(name, unit, goal, windows, figure, note, extra, is_floor=False):
    """A result row: a value where enough windows count, and why not where they do not. `is_floor`: the goal is a least."""
    digits = 3 if unit in (RATE, TIMES) else 1
    quiet, every, why = [], [], {}
    for _, window in windows:
        against = objections(window)
        for objection in against:
            why[objection] = why.get(objection, 0) + 1
        every.append(round(figure(window), digits))
        if not against:
            quiet.append(every[-1])
    wrong = extra.get("wrong", 0)
    missing = None
    if wrong:
        missing = f"{wrong} frames came out wrong"
    elif len(quiet) < NEEDED:
        causes = "".join(f", {cause} in {count}" for cause, count in sorted(why.items()))
        missing = f"{len(quiet)} of {len(windows)} windows count, {NEEDED} are needed{causes}"
    spread = summary(quiet)
    return {
        "bench": "device",
        "row": name,
        "unit": unit,
        "goal": goal,
        "is_floor": is_floor,
        "value": None if missing else spread["median"],
        "least": spread.get("least"),
        "most": spread.get("most"),
        "windows": len(windows),
        "counted": len(quiet),
        "note": "; ".join(filter(None, (f"not measured: {missing}" if missing else "", note))),
        "extra": extra | {"median_of_counted": spread.get("median"), "all_windows": summary(every)},
    }
