"""An HTTP server that says who asked: `web.py NAME PORT`.

GET / answers "NAME saw ADDRESS:PORT"; GET /bytes/N sends N bytes; POST answers "NAME received N bytes".
"""

import http.server
import sys


class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    name = ""

    def do_GET(self):
        if self.path.startswith("/bytes/"):
            self._send(b"x" * int(self.path.removeprefix("/bytes/")))
        else:
            self._send(f"{self.name} saw {self.client_address[0]}:{self.client_address[1]}\n".encode())

    def do_POST(self):
        left = total = int(self.headers["Content-Length"])
        while left:
            chunk = self.rfile.read(min(left, 1 << 16))
            if not chunk:
                return
            left -= len(chunk)
        self._send(f"{self.name} received {total} bytes\n".encode())

    def _send(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Says nothing: the clients do."""


class Server(http.server.ThreadingHTTPServer):
    # A traceroute's probes are connections half open, all at once.
    request_queue_size = 128


if __name__ == "__main__":
    Answer.name = sys.argv[1]
    Server(("", int(sys.argv[2])), Answer).serve_forever()
