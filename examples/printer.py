"""A service that can be found: it says hello to whoever connects.

Run it on one machine (or in one terminal):      python examples/printer.py a
and examples/who_is_there.py on another one:     python examples/who_is_there.py printer
Ctrl-C ends it, and at the same moment it is gone from every list.
"""

import socket
import sys

import nwdisco as nw0

name = sys.argv[1] if len(sys.argv) > 1 else "a"
listening = socket.create_server(("", 0))
port = listening.getsockname()[1]
address = nw0.advertise(f"printer/{name}", port, properties={"dpi": "600"})
print(f"printer/{name} is at {address}", flush=True)

try:
    while True:
        connection, _ = listening.accept()
        with connection:
            connection.sendall(f"hello from printer/{name}\n".encode())
except KeyboardInterrupt:
    print("bye")
