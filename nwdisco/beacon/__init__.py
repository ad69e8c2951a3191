"""The beacon: the one process of a machine and user that keeps the directory and talks to the network."""
