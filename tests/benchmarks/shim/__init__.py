"""The shim door's benchmarks: the same clients against nwdisco, a bare asyncio server, and a thread-a-client server."""
