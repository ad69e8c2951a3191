"""NetworkZero's "dynamically discover services", node A: it breaks at its first command.

Run the nodes, each on a computer or in a terminal:     python examples/classroom/node_a.py
                                                        python examples/classroom/node_b.py
then at the same time:                                  python examples/classroom/node_c.py
                                                        python examples/classroom/cluster_master.py
The RuntimeError at the end is meant to be.
"""

import nwdisco as nw0

name = "A"

nw0.advertise(f"cluster/{name}")
master = nw0.discover("cluster/master")

while True:
    # The master's messages come to the address that this node advertised.
    command = nw0.wait_for_message_from(master, autoreply=True)

    # ... something goes wrong
    raise RuntimeError
