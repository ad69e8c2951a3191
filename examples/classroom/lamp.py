"""A lamp in the classroom: a Raspberry Pi with an LED at pin 17, or any computer, which prints what its lamp does.

Run it:                       python examples/classroom/lamp.py lamp
and the master somewhere:     python examples/classroom/master.py
It knows  on,  off  and  blink TIMES. Ctrl-C ends it.
"""

import sys
import time

import nwdisco as nw0


class PrintedLamp:
    def on(self):
        print("lamp on", flush=True)

    def off(self):
        print("lamp off", flush=True)


try:
    from gpiozero import LED  # on a Pi

    lamp = LED(17)
except Exception:  # no gpiozero here, or no pins
    lamp = PrintedLamp()


def do(action, params):
    if action == "on":
        lamp.on()
    elif action == "off":
        lamp.off()
    elif action == "blink":
        for _ in range(int(params[0])):
            lamp.on()
            time.sleep(0.5)
            lamp.off()
            time.sleep(0.5)
    else:
        return f"a lamp does not {action}"
    return "done"


name = sys.argv[1] if len(sys.argv) > 1 else input("What is this lamp's name? ")
address = nw0.advertise(f"classroom/{name}")
print(f"classroom/{name} is at {address}", flush=True)
try:
    while True:
        command = nw0.wait_for_message_from(address)
        try:
            answer = do(*nw0.action_and_params(command))
        except Exception as error:  # such as  blink often: the master is told, and the lamp goes on
            answer = f"that went wrong: {error}"
        nw0.send_reply_to(address, answer)
except KeyboardInterrupt:
    print("Bye.")
