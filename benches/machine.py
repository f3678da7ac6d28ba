"""Describes what a measurement depends on besides the code: the machine and its programs. It measures nothing."""

import contextlib
import os
import pathlib
import platform
import re
import subprocess


def first_line(*command):
    """Returns the first line of a command's output; "" if there is no such command, or it fails."""
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return (run.stdout + run.stderr).strip().split("\n")[0]


def package(name):
    """Returns the version of a Debian package; "" if it is not installed, or not on Debian."""
    return first_line("dpkg-query", "--show", "--showformat=${Version}", name)


def cpu(*fields):
    """Returns these fields of the first processor (under the kernel's names) in one string."""
    text = ""
    with contextlib.suppress(OSError):
        text = pathlib.Path("/proc/cpuinfo").read_text()
    found = [re.search(r"^%s\s*:\s*(.*)$" % re.escape(field), text, re.MULTILINE) for field in fields]
    return " ".join(match.group(1) for match in found if match) or platform.machine()


def machine():
    return {"cpu": cpu("model name"), "processors": len(os.sched_getaffinity(0)), "kernel": platform.release(),
            "libc": " ".join(platform.libc_ver()), "lua5.1": first_line("lua5.1", "-v"),
            "luajit": first_line("luajit", "-v"), "rustc": first_line("rustc", "--version"),
            "openssl": first_line("openssl", "version"), "load": os.getloadavg()[0]}
