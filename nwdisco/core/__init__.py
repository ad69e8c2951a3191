"""The rules, pure: no socket, no clock, no thread. Bytes and the time come in; bytes, events and wake-ups go out."""
