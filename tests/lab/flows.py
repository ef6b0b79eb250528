"""Thousands of flows at once, each one's echo verified.

    flows.py serve PORT                         TCP and UDP: answers every token with "TOKEN ADDRESS:PORT", the source it saw
    flows.py ask ADDRESS PORT udp|tcp COUNT     opens COUNT sockets, keeps all of them open, sends one token through each

All flows are open before the first token goes out, and stay open until the last answer is in. Tokens go out at a pace
(so that a loss is the path's, not a queue's of ours); a UDP token that is not answered within a second is sent again
and counted as a retry. The answer must carry its own token: a mix-up of two flows is an error, not a loss.
"""

import collections
import errno
import json
import resource
import selectors
import socket
import sys
import time

PACE_PER_S = 4000
RETRY_AFTER_S, RETRIES = 1.0, 3


def allow_many_files():
    """A flow is a socket is a file; the soft limit is 1,024."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def serve(port):
    allow_many_files()
    selector = selectors.DefaultSelector()
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    datagrams.bind(("", port))
    listener = socket.create_server(("", port), backlog=4096)
    selector.register(datagrams, selectors.EVENT_READ)
    selector.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is datagrams:
                token, source = datagrams.recvfrom(2048)
                datagrams.sendto(b"%s %s:%d" % (token, source[0].encode(), source[1]), source)
            elif key.fileobj is listener:
                stream, source = listener.accept()
                selector.register(stream, selectors.EVENT_READ, source)
            else:
                answer_stream(selector, key.fileobj, key.data)


def answer_stream(selector, stream, source):
    try:
        token = stream.recv(2048)
        if token:
            stream.send(b"%s %s:%d" % (token, source[0].encode(), source[1]))
            return
    except OSError:
        pass
    selector.unregister(stream)
    stream.close()


def ask(address, port, protocol, count):
    allow_many_files()
    begin = time.monotonic()
    selector = selectors.DefaultSelector()
    flows = open_all(address, port, protocol, count)
    for token, flow in flows.items():
        selector.register(flow, selectors.EVENT_READ, token)

    externals, wrong, retries = {}, [], 0
    due = collections.deque((begin, token, 0) for token in flows)
    sent_at = time.monotonic()
    while len(externals) < count and due:
        now = time.monotonic()
        while due and due[0][0] <= now and sent_at <= now:
            _, token, tries = due.popleft()
            if token in externals:
                continue
            flows[token].send(token.encode())
            retries += tries > 0
            sent_at = max(sent_at, now - 0.01) + 1 / PACE_PER_S
            if tries < RETRIES:
                # A TCP flow's kernel repeats by itself; only the deadline is kept.
                due.append((now + RETRY_AFTER_S, token, tries + 1) if protocol == "udp" else (now + 10, token, RETRIES))
        for key, _ in selector.select(0.001):
            try:
                token, _, external = key.fileobj.recv(2048).decode().partition(" ")
            except OSError as error:
                wrong.append(f"{key.data}: {error}")
                selector.unregister(key.fileobj)
                continue
            if token == key.data:
                externals[token] = external
            else:
                wrong.append(f"{key.data} was answered with {token!r}")
                selector.unregister(key.fileobj)

    seconds = time.monotonic() - begin
    if protocol == "tcp":
        close_all(flows.values())
    seen = set(externals.values())
    return {
        "protocol": protocol,
        "flows": count,
        "answered": len(externals),
        "wrong": wrong[:5],
        "retries": retries,
        "external_addresses": sorted({external.rsplit(":", 1)[0] for external in seen}),
        "external_endpoints": len(seen),
        "seconds": round(seconds, 2),
    }


def open_all(address, port, protocol, count):
    """Opens `count` flows; returns them by token. TCP: connects 256 at a time and waits until all are established."""
    flows, opening = {}, {}
    selector = selectors.DefaultSelector()
    for number in range(count):
        token = f"{protocol}-{number:05}"
        flow = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM)
        flow.setblocking(False)
        flow.connect_ex((address, port))
        flows[token] = flow
        if protocol == "tcp":
            opening[flow] = token
            selector.register(flow, selectors.EVENT_WRITE)
        while len(opening) > (256 if number + 1 < count else 0):
            ready = selector.select(15)
            if not ready:
                raise SystemExit(f"{len(opening)} of {number + 1} connections did not open within 15 s")
            for key, _ in ready:
                error = key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if error:
                    raise SystemExit(f"{opening[key.fileobj]} did not open: {errno.errorcode.get(error, error)}")
                selector.unregister(key.fileobj)
                del opening[key.fileobj]
    return flows


def close_all(flows):
    """Ends connections from both sides, at the pace, and waits until they have ended: a kernel that is left alone with one
    goes on repeating its end through whatever gateway comes next."""
    selector = selectors.DefaultSelector()
    for flow in flows:
        try:
            flow.shutdown(socket.SHUT_WR)
        except OSError:
            continue  # It has ended already, and was counted as wrong.
        selector.register(flow, selectors.EVENT_READ)
        time.sleep(1 / PACE_PER_S)
    deadline = time.monotonic() + 10
    while selector.get_map() and time.monotonic() < deadline:
        for key, _ in selector.select(0.1):
            if not key.fileobj.recv(2048):
                selector.unregister(key.fileobj)
                key.fileobj.close()
    if selector.get_map():
        raise SystemExit(f"{len(selector.get_map())} connections did not end within 10 s")


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    else:
        print(json.dumps(ask(sys.argv[2], int(sys.argv[3]), sys.argv[4], int(sys.argv[5]))))
