import nwdisco as nw0

address = nw0.advertise("myservice3", 1234)
print("Service is at address", address)
