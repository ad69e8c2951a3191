"""NetworkZero's "dynamically discover services", the master: who has left the cluster, who has joined, and stop them all.

Run:  python examples/classroom/cluster_master.py      node_a.py says how the four programs go together.
Mended, for each of these stops the document's program or lets it wait for ever: it has no `import time`; it joins pairs
(name, address) as if they were text; and at the end it finds itself in its cluster, and waits for its own answer.
"""

import time

import nwdisco as nw0

name = "cluster/master"
address = nw0.advertise(name)

nodes = set(nw0.discover_group("cluster", exclude=name))
old_nodes = nodes
print("Nodes:", ", ".join(node for node, _ in nodes))

# A command for A, which breaks of it.
node_a = nw0.discover("cluster/A")
nw0.send_message_to(node_a, "STOP")

# Time for node C to wake up.
time.sleep(5)

nodes = set(nw0.discover_group("cluster", exclude="cluster/master"))
for name, _ in old_nodes - nodes:
    print(f"{name} has left the cluster")
for name, _ in nodes - old_nodes:
    print(f"{name} has joined the cluster")

for _, address in nodes:
    nw0.send_message_to(address, "STOP")
