import nwdisco as nw0

address = nw0.advertise("myservice1")
print("Service is at", address)
