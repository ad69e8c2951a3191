"""etcd v3, as the registry and the beacon's link use it: one connection, what is kept there, what is followed there.

On asyncio, over aetcd's stubs of etcd's gRPC API. (aetcd's own client knows no TLS and only one address, and its watches show no
revisions.)
"""

import os

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
"""Said before gRPC is imported: with its handlers of forks, one in three children of a program that forks while it is connected
crashed (measured with 1.85, whatever the child did); without them none of 100."""
