import nwdisco as nw0

services = dict(nw0.discover_group("chat"))
print(services)
