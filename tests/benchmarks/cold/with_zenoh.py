import sys

import zenoh

session = zenoh.open(zenoh.Config())
for sample in session.liveliness().declare_subscriber(f"nwbench/{sys.argv[1]}/*", history=True):
    print(str(sample.key_expr).rpartition("/")[2], flush=True)
    break
session.close()
