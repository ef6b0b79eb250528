"""A numbered stream of datagrams: tells exactly which were lost, and when the first and last came.

    stream.py receive PORT [--echo]             counts until SIGTERM, then prints {"id": {"count", "first_ns", "last_ns"}}
    stream.py send ADDRESS PORT ID RATE SECONDS prints {"sent", "echoed", "missing": [sequence numbers]}

Times are CLOCK_MONOTONIC, which all namespaces share, so they compare with the laboratory's own.
"""

import json
import signal
import socket
import struct
import sys
import time

FRAME = struct.Struct("!II")
GRACE_S = 1.0


def receive(port, echo):
    streams = {}

    def report(*_):
        print(json.dumps(streams), flush=True)
        sys.exit(0)

    signal.signal(signal.SIGTERM, report)
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    receiver.bind(("", port))
    while True:
        datagram, source = receiver.recvfrom(2048)
        now = time.monotonic_ns()
        stream = streams.setdefault(str(FRAME.unpack(datagram)[0]), {"count": 0, "first_ns": now, "last_ns": now})
        stream["count"] += 1
        stream["last_ns"] = now
        if echo:
            receiver.sendto(datagram, source)


def send(address, port, identity, rate, seconds):
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sender.connect((address, port))
    sender.setblocking(False)
    total, sent, echoed = int(rate * seconds), 0, set()
    begin = time.monotonic()
    while sent < total:
        while sent < total and begin + sent / rate <= time.monotonic():
            try:
                sender.send(FRAME.pack(identity, sent))
            except ConnectionRefusedError:
                pass  # The port is closed at the far end: an ICMP error came back. The datagram counts as sent.
            sent += 1
        collect(sender, echoed)
        time.sleep(min(0.002, 1 / rate))
    deadline = time.monotonic() + GRACE_S
    while time.monotonic() < deadline and len(echoed) < total:
        collect(sender, echoed)
        time.sleep(0.005)
    missing = [number for number in range(total) if number not in echoed]
    return {"sent": sent, "echoed": len(echoed), "missing": missing[:20]}


def collect(sender, echoed):
    while True:
        try:
            echoed.add(FRAME.unpack(sender.recv(2048))[1])
        except (BlockingIOError, ConnectionRefusedError):
            return


if __name__ == "__main__":
    if sys.argv[1] == "receive":
        receive(int(sys.argv[2]), "--echo" in sys.argv)
    else:
        rate, seconds = float(sys.argv[5]), float(sys.argv[6])
        print(json.dumps(send(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), rate, seconds)))
