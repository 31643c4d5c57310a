#!/usr/bin/python3
"""Becomes the program `PROGRAM` with the arguments given, which cannot see its host's network interfaces, or their
addresses coming and going: the kernel refuses it the sockets that tell of them."""

import errno
import os
import socket
import sys

import seccomp  # Debian's python3-seccomp: hence the system's Python

allowed = seccomp.SyscallFilter(defaction=seccomp.ALLOW)
allowed.add_rule(seccomp.ERRNO(errno.EAFNOSUPPORT), "socket", seccomp.Arg(0, seccomp.EQ, socket.AF_NETLINK))
allowed.load()
os.execvp(os.environ["PROGRAM"], [os.environ["PROGRAM"], *sys.argv[1:]])
