import nwdisco as nw0

name = "B"

nw0.advertise(f"cluster/{name}")
master = nw0.discover("cluster/master")

while True:
    command = nw0.wait_for_message_from(master, autoreply=True)
    if command == "STOP":
        break
