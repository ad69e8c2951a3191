"""NetworkZero's "dynamically discover services", node B: it works until it is told to stop.

Run:  python examples/classroom/node_b.py      node_a.py says how the four programs go together.
"""

import nwdisco as nw0

name = "B"

nw0.advertise(f"cluster/{name}")
master = nw0.discover("cluster/master")

while True:
    command = nw0.wait_for_message_from(master, autoreply=True)
    # Here it would do something useful.
    if command == "STOP":
        break
