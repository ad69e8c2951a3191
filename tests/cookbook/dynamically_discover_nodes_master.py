import time  # the document has none, and stops at the first sleep

import nwdisco as nw0

name = "cluster/master"
address = nw0.advertise(name)

nodes = set(nw0.discover_group("cluster", exclude=name))
old_nodes = nodes
print("Nodes:", ", ".join(name for name, _ in nodes))  # the document joins the pairs themselves, a TypeError

node_a = nw0.discover("cluster/A")
nw0.send_message_to(node_a, "STOP")  # it breaks on this

time.sleep(5)  # until node C is there

nodes = set(nw0.discover_group("cluster"))
for name, _ in old_nodes - nodes:
    print(f"{name} has left the cluster")
for name, _ in nodes - old_nodes:
    print(f"{name} has joined the cluster")

for _, address in nodes:  # the master itself is among them
    nw0.send_message_to(address, "STOP")
