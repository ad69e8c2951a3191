import nwdisco as nw0

alice = nw0.advertise("chat/alice")
