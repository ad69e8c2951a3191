"""Who is in a group, and who comes and goes; it talks to each newcomer.

Run it anywhere on the network:      python examples/who_is_there.py printer
It ends with Ctrl-C, or after so many seconds:      python examples/who_is_there.py printer 10
"""

import socket
import sys

import nwdisco as nw0

group = sys.argv[1] if len(sys.argv) > 1 else "printer"
seconds = float(sys.argv[2]) if len(sys.argv) > 2 else nw0.FOREVER

try:
    for event in nw0.watch(group, wait_for_s=seconds):
        print(event.kind, event.name, event.address, event.properties, flush=True)
        if event.kind == "joined":
            ip, port = event.address.split(":")
            with socket.create_connection((ip, int(port)), timeout=5) as connection:
                print(connection.makefile().readline().strip(), flush=True)
except KeyboardInterrupt:
    print("bye")
