"""etcd v3, as the registry and the beacon's link use it: one connection, what is kept there, what is followed there.

On asyncio, over aetcd's stubs of etcd's gRPC API. (aetcd's own client knows no TLS and only one address, and its watches show no
revisions.)
"""
