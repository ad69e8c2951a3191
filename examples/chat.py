"""A chat room on your network: what you type, everybody in the room reads.

Run it in two terminals, or on two computers:         python examples/chat.py alice
                                                      python examples/chat.py bob
A room of your own, for all who give the same name:   python examples/chat.py alice secret
Ctrl-C (or Ctrl-D) ends it, and everybody sees at once that you left.
"""

import sys
import threading

import nwdisco as nw0

me = sys.argv[1] if len(sys.argv) > 1 else input("What is your name? ")
room = sys.argv[2] if len(sys.argv) > 2 else "chat"
try:
    address = nw0.advertise(f"{room}/{me}", fail_if_exists=True)
except nw0.NameTakenError:
    sys.exit(f"Somebody called {me} is in the room already: take another name.")


def show_who_comes_and_goes():
    for event in nw0.watch(room):
        if event.name != f"{room}/{me}":
            print(f"* {event.name} {event.kind}", flush=True)


def show_what_others_say():
    while True:
        print(nw0.wait_for_message_from(address, autoreply=True), flush=True)


def say(line):
    for person in nw0.discover_group(room, exclude=f"{room}/{me}"):
        try:
            nw0.send_message_to(person.address, f"{me}: {line}", wait_for_reply_s=3)
        except nw0.ServiceGoneError:
            pass  # left in this very moment: the room is told
        except nw0.SocketTimedOutError:
            print(f"* {person.name} does not answer", flush=True)


print(f"You are in the room {room}, {me}. Type what you want to say.", flush=True)
threading.Thread(target=show_who_comes_and_goes, daemon=True).start()
threading.Thread(target=show_what_others_say, daemon=True).start()
try:
    for line in sys.stdin:
        say(line.rstrip())
except KeyboardInterrupt:
    pass
print("Bye.")
