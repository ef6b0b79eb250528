"""STUN (RFC 8489) as far as RFC 5780 needs it to tell from outside how a NAT maps and filters.

    stun.py serve ADDRESS OTHER-ADDRESS PORT OTHER-PORT     answers on all four endpoints, UDP and TCP
    stun.py classify ADDRESS PORT                           asks it from one socket; prints JSON

The classes are RFC 4787's. Nothing here knows natgate: the answers say what the internet saw and what came back.
"""

import json
import os
import selectors
import socket
import struct
import sys

COOKIE = 0x2112A442
REQUEST, RESPONSE = 0x0001, 0x0101
CHANGE_REQUEST, XOR_MAPPED_ADDRESS, OTHER_ADDRESS = 0x0003, 0x0020, 0x802C
CHANGE_ADDRESS, CHANGE_PORT = 0x04, 0x02
HEADER = struct.Struct("!HHI12s")
TRIES, PATIENCE_S = 3, 0.4
INDEPENDENT, ADDRESS, ADDRESS_AND_PORT = "endpoint_independent", "address_dependent", "address_and_port_dependent"


def message(kind, transaction, *attributes):
    body = b""
    for attribute, value in attributes:
        body += struct.pack("!HH", attribute, len(value)) + value + bytes(-len(value) % 4)
    return HEADER.pack(kind, len(body), COOKIE, transaction) + body


def read(data):
    """Kind, transaction and attributes of a message; `None` if it is none."""
    if len(data) < HEADER.size:
        return None
    kind, length, cookie, transaction = HEADER.unpack_from(data)
    if cookie != COOKIE or length != len(data) - HEADER.size:
        return None
    attributes, at = {}, HEADER.size
    while at + 4 <= len(data):
        attribute, size = struct.unpack_from("!HH", data, at)
        attributes[attribute] = data[at + 4 : at + 4 + size]
        at += 4 + size + -size % 4
    return kind, transaction, attributes


def endpoint(address, port):
    return struct.pack("!xBH4s", 1, port, socket.inet_aton(address))


def xored(value):
    """An endpoint's address and port under the cookie, and back again."""
    family, port, address = struct.unpack("!xBHI", value)
    return struct.pack("!xBHI", family, port ^ COOKIE >> 16, address ^ COOKIE)


def readable(value):
    _, port, address = struct.unpack("!xBH4s", value)
    return socket.inet_ntoa(address), port


def serve(addresses, ports):
    sockets, selector = {}, selectors.DefaultSelector()
    for address in addresses:
        for port in ports:
            udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            for one in (udp, tcp):
                one.bind((address, port))
                selector.register(one, selectors.EVENT_READ)
            tcp.listen()
            sockets[address, port] = udp

    def answer(data, source, at):
        asked = read(data)
        if asked is None or asked[0] != REQUEST:
            return None
        _, transaction, attributes = asked
        flags = struct.unpack("!I", attributes.get(CHANGE_REQUEST, bytes(4)))[0]
        other = [addresses[1 - addresses.index(at[0])], ports[1 - ports.index(at[1])]]
        origin = (other[0] if flags & CHANGE_ADDRESS else at[0], other[1] if flags & CHANGE_PORT else at[1])
        return origin, message(RESPONSE, transaction, (XOR_MAPPED_ADDRESS, xored(endpoint(*source))), (OTHER_ADDRESS, endpoint(*other)))

    while True:
        for key, _ in selector.select():
            ready = key.fileobj
            if ready.type == socket.SOCK_DGRAM:
                data, source = ready.recvfrom(2048)
                if found := answer(data, source, ready.getsockname()):
                    sockets[found[0]].sendto(found[1], source)
                continue
            connection, source = ready.accept()
            with connection:
                connection.settimeout(2)
                try:
                    if found := answer(connection.recv(2048), source, connection.getsockname()):
                        connection.sendall(found[1])
                except OSError:
                    pass


class Asker:
    """One UDP socket of a client, at a port that TCP has free, too: a connection of before may rest on it for a minute."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as free:
            free.bind(("0.0.0.0", 0))
            self.socket.bind(free.getsockname())
        self.socket.settimeout(PATIENCE_S)

    def ask(self, server, change=0):
        """What `server` saw and its other address, or `None` if no answer came."""
        for _ in range(TRIES):
            transaction = os.urandom(12)
            self.socket.sendto(message(REQUEST, transaction, (CHANGE_REQUEST, struct.pack("!I", change))), server)
            try:
                while True:
                    answered = read(self.socket.recv(2048))
                    if answered and answered[:2] == (RESPONSE, transaction):
                        return readable(xored(answered[2][XOR_MAPPED_ADDRESS])), readable(answered[2][OTHER_ADDRESS])
            except TimeoutError:
                continue
        return None


def ask_tcp(server, source_port):
    """What `server` saw of a connection from this port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Reset at the end: the port is needed for the next connection.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.settimeout(5)
        connection.bind(("0.0.0.0", source_port))
        connection.connect(server)
        connection.sendall(message(REQUEST, os.urandom(12)))
        return readable(xored(read(connection.recv(2048))[2][XOR_MAPPED_ADDRESS]))


def mapping(seen):
    """The class of what three servers saw: one, its other address at the same port, and that at its other port."""
    first, other_address, other_endpoint = seen
    if first == other_address:
        return INDEPENDENT
    return ADDRESS if other_address == other_endpoint else ADDRESS_AND_PORT


def classify(server):
    asker = Asker()
    seen, other = asker.ask(server)
    servers = [server, (other[0], server[1]), other]
    # Filtering first, with another socket: whoever was asked may answer (RFC 5780 section 4.4).
    filtered = Asker()
    require_answer(filtered.ask(server))
    if filtered.ask(server, CHANGE_ADDRESS | CHANGE_PORT):
        filtering = INDEPENDENT
    else:
        filtering = ADDRESS if filtered.ask(server, CHANGE_PORT) else ADDRESS_AND_PORT
    views = [seen] + [require_answer(asker.ask(one))[0] for one in servers[1:]]
    port = asker.socket.getsockname()[1]
    tcp = [ask_tcp(one, port) for one in servers]
    return {
        "udp": {"mapping": mapping(views), "filtering": filtering, "seen": views},
        "tcp": {"mapping": mapping(tcp), "seen": tcp},
    }


def require_answer(answer):
    if answer is None:
        sys.exit("stun: the server does not answer")
    return answer


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2:4], [int(port) for port in sys.argv[4:6]])
    else:
        print(json.dumps(classify((sys.argv[2], int(sys.argv[3])))))
