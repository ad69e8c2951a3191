import sys

from zeroconf import Zeroconf

TYPE = "_nwbench._tcp.local."
info = Zeroconf().get_service_info(TYPE, f"{sys.argv[1]}.{TYPE}", timeout=30_000)
print(info and info.parsed_addresses()[0], flush=True)
