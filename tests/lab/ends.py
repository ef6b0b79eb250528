"""How a TCP connection ends for its client: `ends.py ADDRESS PORT [SILENCE]`.

Connects, says something after SILENCE seconds if told so, and waits for the end. Prints, as JSON, what that was (`refused`,
`reset`, `closed` or `silent`) and after how many seconds.
"""

import json
import socket
import sys
import time

WAIT = 25


def end_of(address, port, silence):
    with socket.socket() as connection:
        connection.settimeout(WAIT)
        try:
            connection.connect((address, port))
            if silence:
                time.sleep(silence)
                connection.sendall(b"G")
            return "closed" if not connection.recv(1) else "spoken to"
        except ConnectionRefusedError:
            return "refused"
        except ConnectionResetError:
            return "reset"
        except TimeoutError:
            return "silent"


began = time.monotonic()
address, port, *silence = sys.argv[1:]
end = end_of(address, int(port), float(silence[0]) if silence else None)
print(json.dumps({"end": end, "seconds": round(time.monotonic() - began, 1)}))
