import nwdisco as nw0

services = nw0.discover_all()
print("Services:", services)
