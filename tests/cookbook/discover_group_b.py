import nwdisco as nw0

bob = nw0.advertise("chat/bob")
