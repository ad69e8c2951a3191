"""The master of a classroom: what you type, every node does, and its answer is shown here.

Run this on one computer:                    python examples/classroom/master.py
and on the others, each with a name:         python examples/classroom/node.py anna
                                             python examples/classroom/lamp.py lamp
Type  say hello  or  add 1 2  for all of them, or  @anna say hello  for one. Nodes may come and go as they
like. Ctrl-C (or Ctrl-D) ends it.
"""

import sys
import threading

import nwdisco as nw0


def show_who_comes_and_goes():
    for event in nw0.watch("classroom"):
        print(f"* {event.name} {event.kind}", flush=True)


def tell(node, command):
    try:
        print(f"{node.name}: {nw0.send_message_to(node.address, command, wait_for_reply_s=60)}", flush=True)
    except nw0.ServiceGoneError:  # it died; nobody waits for it
        print(f"{node.name} went before it answered", flush=True)
    except nw0.SocketTimedOutError:  # it is there, and it hangs
        print(f"{node.name} does not answer", flush=True)


threading.Thread(target=show_who_comes_and_goes, daemon=True).start()
try:
    for line in sys.stdin:
        command = line.strip()
        nodes = nw0.discover_group("classroom")
        if command.startswith("@"):
            name, _, command = command[1:].partition(" ")
            nodes = [node for node in nodes if node.name == f"classroom/{name}"]
        if command:
            print(f"({len(nodes)} told)", flush=True)
            at_work = [threading.Thread(target=tell, args=(node, command), daemon=True) for node in nodes]
            for thread in at_work:
                thread.start()  # all of them work at the same time
            for thread in at_work:
                thread.join()
except KeyboardInterrupt:
    pass
print("Bye.")
