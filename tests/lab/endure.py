"""Flows that live on through whatever happens to the gateway, and tell what it was.

    endure.py serve PORT REPORT                                 until SIGTERM, then writes {"tcp": {flow: bytes}, "udp": {flow: endpoints}}
    endure.py ask ADDRESS PORT NAME TCP UDP SECONDS             prints what its flows saw

TCP flows send numbered lines, `LINES_PER_S` each, and want every byte of theirs back, in order, on the connection they
began with. UDP flows ask every `UDP_EVERY_S` and are told the external endpoint the server sees: it must stay theirs.
Every line and datagram carries its flow's own name, tenant included, so an answer of another flow is known as such.
"""

import json
import pathlib
import resource
import selectors
import signal
import socket
import sys
import time

LINES_PER_S = 5
UDP_EVERY_S = 2.0
# After the last line the connection may have to repeat what the last outage took.
SETTLE_S = 20.0


def allow_many_files():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Server:
    """Gives everything back; counts bytes by TCP flow, endpoints by UDP flow."""

    def __init__(self, port):
        allow_many_files()
        self.selector = selectors.DefaultSelector()
        self.tcp, self.udp = {}, {}
        self.datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.datagrams.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self.datagrams.bind(("", port))
        self.listener = socket.create_server(("", port), backlog=4096)
        for one in (self.datagrams, self.listener):
            self.selector.register(one, selectors.EVENT_READ)

    def run(self):
        while True:
            for key, _ in self.selector.select():
                if key.fileobj is self.datagrams:
                    flow, source = self.datagrams.recvfrom(2048)
                    endpoint = "%s:%d" % source
                    self.udp.setdefault(flow.decode().split()[0], set()).add(endpoint)
                    self.datagrams.sendto(flow + b" " + endpoint.encode(), source)
                elif key.fileobj is self.listener:
                    stream, _ = self.listener.accept()
                    self.selector.register(stream, selectors.EVENT_READ, {"flow": None, "bytes": 0})
                else:
                    self.answer(key.fileobj, key.data)

    def answer(self, stream, state):
        try:
            received = stream.recv(1 << 16)
        except OSError:
            received = b""
        if not received:
            self.selector.unregister(stream)
            stream.close()
            return
        if state["flow"] is None:
            state["flow"] = received.decode().split()[0]
        state["bytes"] += len(received)
        # One entry for each connection: a flow that had to connect again shows as two.
        self.tcp[f"{state['flow']} from {stream.getpeername()[1]}"] = state["bytes"]
        stream.sendall(received)

    def report(self):
        return {"tcp": self.tcp, "udp": {flow: sorted(endpoints) for flow, endpoints in self.udp.items()}}


class Stream:
    """One TCP flow."""

    def __init__(self, name, address, port):
        self.name, self.sent, self.received, self.number = name, b"", 0, 0
        self.socket = socket.create_connection((address, port), timeout=15)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)

    def speak(self):
        line = b"%s %06d\n" % (self.name.encode(), self.number)
        self.number += 1
        self.socket.sendall(line)
        self.sent += line

    def hear(self):
        """Reads what came back; it must go on where it stopped."""
        while True:
            try:
                heard = self.socket.recv(1 << 16)
            except BlockingIOError:
                return
            if not heard:
                raise ConnectionError("the other side closed")
            if self.sent[self.received : self.received + len(heard)] != heard:
                raise ConnectionError(f"{heard[:60]!r} is not what was sent")
            self.received += len(heard)


def ask(address, port, name, tcp_count, udp_count, seconds):
    allow_many_files()
    selector = selectors.DefaultSelector()
    streams = [Stream(f"{name}-tcp-{number:04}", address, port) for number in range(tcp_count)]
    for stream in streams:
        selector.register(stream.socket, selectors.EVENT_READ, stream)
    asked = []
    for number in range(udp_count):
        flow = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        flow.connect((address, port))
        flow.setblocking(False)
        token = f"{name}-udp-{number:05}"
        asked.append((token, flow))
        selector.register(flow, selectors.EVENT_READ, token)

    broken, wrong, externals, answers, sent = {}, [], {}, 0, 0
    begin = last_answer = time.monotonic()
    gaps = []
    next_line, next_udp = begin, begin
    udp_pace = UDP_EVERY_S / max(udp_count, 1)
    udp_turn = 0
    end = begin + seconds
    while (now := time.monotonic()) < end or any(s.received < len(s.sent) for s in streams if s.name not in broken):
        if now > end + SETTLE_S:
            break
        if now < end and now >= next_line:
            next_line += 1 / LINES_PER_S
            for stream in streams:
                act(stream, stream.speak, broken)
        while now < end and next_udp <= now and asked:
            next_udp = max(next_udp + udp_pace, now - 0.05)
            token, flow = asked[udp_turn % udp_count]
            udp_turn += 1
            try:
                flow.send(token.encode())
                sent += 1
            except OSError as error:
                wrong.append(f"{token}: {error}")
        for key, _ in selector.select(0.005):
            if isinstance(key.data, Stream):
                if not act(key.data, key.data.hear, broken):
                    selector.unregister(key.fileobj)
                continue
            try:
                token, external = key.fileobj.recv(2048).decode().split()
            except OSError as error:
                wrong.append(f"{key.data}: {error}")
                continue
            heard_at = time.monotonic()
            if heard_at - last_answer > 0.1:
                gaps.append([round(last_answer - begin, 3), round(heard_at - last_answer, 3)])
            last_answer = heard_at
            answers += 1
            if token != key.data:
                wrong.append(f"{key.data} was answered with {token}")
            elif externals.setdefault(token, external) != external:
                wrong.append(f"{token} had {externals[token]}, now {external}")
    for stream in streams:
        if stream.name not in broken and stream.received != len(stream.sent):
            broken[stream.name] = f"{stream.received} of {len(stream.sent)} bytes came back"
    return {
        "tcp": {stream.name: len(stream.sent) for stream in streams},
        "ports": {stream.name: stream.socket.getsockname()[1] for stream in streams if stream.name not in broken},
        "broken": broken,
        "wrong": wrong[:10],
        "wrong_count": len(wrong),
        "udp_flows": udp_count,
        "udp_answered": len(externals),
        "udp_sent": sent,
        "udp_answers": answers,
        "gaps": gaps,
    }


def act(stream, deed, broken):
    """Does something with a stream that may have broken; False if it has."""
    if stream.name in broken:
        return False
    try:
        deed()
    except BlockingIOError:
        broken[stream.name] = "its send buffer is full"
    except OSError as error:
        broken[stream.name] = str(error)
    return stream.name not in broken


def main():
    if sys.argv[1] == "serve":
        server = Server(int(sys.argv[2]))

        def report(*_):
            pathlib.Path(sys.argv[3]).write_text(json.dumps(server.report()))
            sys.exit(0)

        signal.signal(signal.SIGTERM, report)
        server.run()
    else:
        address, port, name, tcp, udp, seconds = sys.argv[2:]
        print(json.dumps(ask(address, int(port), name, int(tcp), int(udp), float(seconds))))


if __name__ == "__main__":
    main()
