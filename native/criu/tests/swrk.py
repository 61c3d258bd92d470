#!/usr/bin/env python3
"""Sends the request on standard input to `criu swrk` and writes its answer to
standard output: swrk.py CRIU"""

import socket
import subprocess
import sys

ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
ours.settimeout(60)
proc = subprocess.Popen([sys.argv[1], "swrk", str(its.fileno())], pass_fds=[its.fileno()],
                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
its.close()
ours.send(sys.stdin.buffer.read())
sys.stdout.buffer.write(ours.recv(1 << 20))
ours.close()
proc.wait(60)
