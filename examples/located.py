"""Ask the printers of the network one after the other, whoever is there at the moment.

Run some, here or on other machines:      python examples/printer.py a
and this one:                             python examples/located.py
Start more of them, end some: it goes on with those that are there. Ctrl-C ends it.
"""

import socket
import sys
import time

from nwdisco.services import Discovery

every_s = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0

with Discovery() as discovery:
    printers = discovery.pool("printer")
    try:
        while True:
            printer = printers.pick(wait_s=60)
            ip, port = printer.address.split(":")
            try:
                with socket.create_connection((ip, int(port)), timeout=5) as connection:
                    print(connection.makefile().readline().strip(), flush=True)
            except OSError as error:
                print(f"{printer.id} at {printer.address} has just gone: {error}", flush=True)
            time.sleep(every_s)
    except KeyboardInterrupt:
        print("bye")
