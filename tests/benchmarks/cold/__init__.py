"""One short program a library: find one service, print it. Timed from the start of the process."""
