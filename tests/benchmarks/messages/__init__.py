"""The messenger's benchmarks: messages and news of nwdisco, NetworkZero and bare pyzmq, in one run."""
