"""A node of the classroom: it does what the master says, and answers.

Run it on as many computers as you have, each with a name:    python examples/classroom/node.py anna
and the master on one of them:                                python examples/classroom/master.py
It knows  say WORDS,  add NUMBERS,  work SECONDS  and  stop. Ctrl-C ends it too.
"""

import sys
import time

import nwdisco as nw0


def do(action, params):
    if action == "say":
        print(*params, flush=True)
        return "said it"
    if action == "add":
        return sum(int(number) for number in params)
    if action == "work":
        print("working ...", flush=True)
        time.sleep(float(params[0]))
        return "done"
    if action == "stop":
        return "bye"
    return f"I do not know how to {action}"


name = sys.argv[1] if len(sys.argv) > 1 else input("What is this node's name? ")
address = nw0.advertise(f"classroom/{name}")
print(f"classroom/{name} is at {address}", flush=True)
try:
    action = None
    while action != "stop":
        command = nw0.wait_for_message_from(address)
        try:
            action, params = nw0.action_and_params(command)
            answer = do(action, params)
        except Exception as error:  # such as  add one two: the master is told, and the node goes on
            answer = f"that went wrong: {error}"
        nw0.send_reply_to(address, answer)
except KeyboardInterrupt:
    print("Bye.")
