import nwdisco as nw0

myservice = nw0.discover("myservice5")
print("myservice is at", myservice)
