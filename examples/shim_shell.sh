#!/bin/sh
# A service in a shell, over the shim's line dialect: it registers, shows who is there, stays listed.
# Run:  sh examples/shim_shell.sh [HOST PORT]      Ctrl-C ends it; ten seconds later it is listed no more.
host=${1:-127.0.0.1} port=${2:-65432}
ask() { printf '%s\n' "$1" | nc -N "$host" "$port"; } # the nc of OpenBSD, as in Debian's netcat-openbsd; others: nc -q 1

while ask '{"type":"register","key":"lamp/shell","values":"192.168.1.7:8080","timeout":10}'; do
    ask '{"type":"query","key":"all"}'
    sleep 5 # the same registration once more renews it
done
