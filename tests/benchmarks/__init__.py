"""Benchmarks: nwdisco beside other discovery libraries, on one machine, with network namespaces as hosts.

`python -m tests.benchmarks --install` once, then `python -m tests.benchmarks` (root, Linux).
"""
