import nwdisco as nw0

nw0.advertise("myservice7")
