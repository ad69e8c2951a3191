"""NetworkZero's "dynamically discover services", node C: it comes a few seconds after the others.

Run:  python examples/classroom/node_c.py      node_a.py says how the four programs go together.
Mended: the document has no `import time`, and stops with a NameError.
"""

import time

import nwdisco as nw0

name = "C"

time.sleep(3)  # the others are there already
nw0.advertise(f"cluster/{name}")
master = nw0.discover("cluster/master")

while True:
    command = nw0.wait_for_message_from(master, autoreply=True)
    # Here it would do something useful.
    if command == "STOP":
        break
