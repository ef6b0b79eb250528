#!/usr/bin/env python3
"""Whether generator and gateway understand each other: a slow window over memif, and every frame is looked at.

Every packet has to come out at the other side as its session says, checksums and all. Nothing is timed, so it may run
beside anything; a window in which a busy machine lost frames, or sent few, is played again.
"""

import pathlib
import sys

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "tests" / "lab"))

from generator import Generator
from links import Memif
from machine import cores
from netns import LabError, World
from under_test import Natgate

FLOWS, RATE, WINDOWS = 2_000, 20_000, 10


def check(world):
    generator_core, device_core = cores()
    with Memif(world, zero_copy=False) as link:
        gateway = Natgate(huge=False)
        gateway.start(world, link, device_core, "plain", FLOWS)
        generator = Generator(world, link, generator_core, "plain", FLOWS, look_at=1)
        try:
            generator.opened()
        except LabError as error:
            raise LabError(f"{error}\nthe gateway's account: {gateway.account()}") from error
        for _ in range(WINDOWS):
            window = generator.play(RATE, gateway.threads())
            if window["wrong"] or window["looked_at"] != window["received"]:
                raise LabError(f"of {window['received']} frames {window['looked_at']} were looked at, and {window['wrong']} were wrong")
            if not window["lost"] and window["received"] >= FLOWS:
                break
        else:
            raise LabError(f"of {window['sent']} frames {window['lost']} were lost: {gateway.account()}")
        generator.stop()
        gateway.stop()
    return window["looked_at"]


if __name__ == "__main__":
    try:
        with World() as world:
            print(f"{check(world)} frames came out, each as its session says")
    except LabError as error:
        sys.exit(f"check: {error}")
