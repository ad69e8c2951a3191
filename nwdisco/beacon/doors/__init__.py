"""Doors: ways for programs on this machine to get in. A door knows programs and the directory, nothing of links."""
