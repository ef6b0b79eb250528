#!/usr/bin/env python3
"""What becomes of windows: which count, what a row says of few, and differences within a round."""

import unittest

from rows import CLOCKS, NEEDED, RATE, TIMES, Results, Subject, clocks, objections

NATGATE = Subject("memif", "natgate", "cloud", 1_000)
MACSWAP = Subject("memif", "testpmd macswap", "cloud", 1_000)


def window(cost, *, waited=0.0, **other):
    """A quiet window of a second in which each packet took so many clocks of a device that was busy throughout."""
    packets = round(2.6e9 / cost)
    quiet = {
        "seconds": 1.0, "clock_ghz": 2.6, "stolen": 0, "memory_ns": 160.0, "wrong": 0, "looked_at": 100,
        "sent": packets, "lost": 0, "received_in_time": packets,
        "generator": {"waited": 0.0, "limits": 0.1}, "device": {"waited": waited, "ran": 1.0},
    }
    return quiet | other


def rows_of(*tried):
    """The rows of subjects with the windows of each round."""
    results = Results()
    for subject, rounds in tried:
        for number, windows in enumerate(rounds):
            for each in windows:
                results.add(subject, number, "full", each)
    return {(row["row"], row["unit"]): row for row in results.rows()}


class Windows(unittest.TestCase):
    def test_a_quiet_one_counts_and_a_disturbed_one_does_not(self):
        self.assertEqual(objections(window(200)), [])
        slow = {"generator": {"waited": 0.06, "limits": 0.1}}
        for disturbed in (window(200, waited=0.06), window(200, stolen=1), window(200, memory_ns=201.0), window(200, **slow)):
            self.assertEqual(len(objections(disturbed)), 1)

    def test_clocks_are_those_that_the_device_ran_for_each_packet(self):
        self.assertAlmostEqual(clocks(window(200)), 200)
        self.assertAlmostEqual(clocks(window(200, device={"waited": 0.0, "ran": 0.5})), 100)

    def test_testpmds_own_count_goes_before_a_greater_one(self):
        self.assertAlmostEqual(clocks(window(200, own_clocks=122.5)), 122.5)
        self.assertAlmostEqual(clocks(window(200, own_clocks=300.0)), 200)


class Rows(unittest.TestCase):
    def test_the_value_is_the_median_of_the_windows_that_count(self):
        disturbed = [window(900, waited=0.5)] * 5
        row = rows_of((NATGATE, [[window(200), window(210), window(220), *disturbed]] * 4))[("natgate, memif, 1000 flows", CLOCKS)]
        self.assertEqual((row["value"], row["least"], row["most"]), (210, 200, 220))
        self.assertEqual((row["windows"], row["counted"]), (32, 12))

    def test_of_too_few_windows_there_is_no_value(self):
        row = rows_of((NATGATE, [[window(200)] * (NEEDED - 1) + [window(200, stolen=3)]]))[("natgate, memif, 1000 flows", RATE)]
        self.assertIsNone(row["value"])
        self.assertTrue(row["note"].startswith(f"not measured: {NEEDED - 1} of {NEEDED} windows count"), row["note"])
        self.assertIn("time was stolen in 1", row["note"])

    def test_a_wrong_frame_leaves_no_value(self):
        row = rows_of((NATGATE, [[window(200)] * 20 + [window(200, wrong=1)]]))[("natgate, memif, 1000 flows", CLOCKS)]
        self.assertIsNone(row["value"])
        self.assertIn("1 frames came out wrong", row["note"])

    def test_a_rate_of_the_generators_own_is_said_to_be(self):
        of_the_generator = window(200, generator={"waited": 0.0, "limits": 0.97})
        row = rows_of((NATGATE, [[window(200)] * 10 + [of_the_generator]]))[("natgate, memif, 1000 flows", RATE)]
        self.assertIn("the generator limited 1 of 11 windows", row["note"])


class Comparisons(unittest.TestCase):
    NAME = ("natgate over testpmd macswap, memif, 1000 flows", CLOCKS)

    def test_a_difference_is_within_a_round(self):
        ours = [[window(200)] * 5, [window(300)] * 5]
        disturbed = [window(500, waited=0.5)] * 4
        testpmd = [[window(120)] * 3 + disturbed, [window(220)] * 3]
        row = rows_of((NATGATE, ours), (MACSWAP, testpmd))[self.NAME]
        self.assertEqual((row["value"], row["least"], row["most"], row["goal"]), (80, 80, 80, 88))

    def test_beside_a_disturbed_testpmd_nothing_counts(self):
        row = rows_of((NATGATE, [[window(200)] * 20]), (MACSWAP, [[window(120, waited=0.5)] * 3]))[self.NAME]
        self.assertIsNone(row["value"])
        self.assertIn("testpmd macswap was not measured in 20", row["note"])

    def test_a_wrong_frame_leaves_no_value(self):
        ours = [[window(200)] * 20 + [window(200, wrong=1)]]
        self.assertIsNone(rows_of((NATGATE, ours), (MACSWAP, [[window(120)] * 3]))[self.NAME]["value"])

    def test_without_testpmd_there_is_no_row(self):
        self.assertNotIn(self.NAME, rows_of((NATGATE, [[window(200)] * 20])))

    def test_the_kernels_translation_is_what_it_costs_above_its_routing(self):
        flows = 1_000_000
        tried = (
            (Subject("memif", "natgate", "plain", flows), 270),
            (Subject("memif", "testpmd macswap", "cloud", flows), 120),
            (Subject("af_packet", "natgate", "plain", flows), 3_000),
            (Subject("af_packet", "Linux route", "plain", flows), 1_700),
            (Subject("af_packet", "Linux snat", "plain", flows), 3_700),
        )
        rows = rows_of(*((subject, [[window(cost)] * 10]) for subject, cost in tried))
        row = rows[(f"natgate over testpmd macswap on memif, of Linux snat over Linux route on veth, {flows} flows", TIMES)]
        self.assertEqual((row["value"], row["goal"]), (0.075, 0.2))
        row = rows[(f"natgate's rate of Linux snat's, af_packet, {flows} flows", TIMES)]
        self.assertEqual((row["value"], row["goal"]), (1.233, 1.0))


if __name__ == "__main__":
    unittest.main()
