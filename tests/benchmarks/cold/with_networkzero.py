import sys

import networkzero as nw0

print(nw0.discover(sys.argv[1], wait_for_s=30), flush=True)
