#!/usr/bin/env python3
"""Chromium without a window, for pages that talk to servers of luws. spec/support/browser.lua drives it.

Started once per run: `chromium.py --ready FILE` (other options are ignored). It writes the port of the DevTools
protocol to FILE, as `devtools PORT`. At the end of its standard input it ends, together with the browser and its
profile.
"""

import argparse
import ctypes
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

PATIENCE = 30.0  # seconds for the browser to get ready, on a machine that has other things to do

# It has no sandbox where root starts it. The rest keeps it from asking for anything but the pages of the specs.
OPTIONS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-port=0",
    "--no-first-run", "--no-default-browser-check", "--disable-background-networking", "--disable-component-update",
    "--disable-default-apps", "--disable-extensions", "--disable-sync", "--disable-breakpad", "--no-proxy-server",
    "--disable-background-timer-throttling", "--disable-renderer-backgrounding",
    "--disable-backgrounding-occluded-windows",
]


def die_with_parent():
    os.setpgid(0, 0)  # the browser's processes are ended as a group
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def port_of(profile, browser):
    """Returns the port that the browser listens at, once it does."""
    told = pathlib.Path(profile, "DevToolsActivePort")
    deadline = time.monotonic() + PATIENCE
    while True:
        lines = told.read_text(encoding="ascii").splitlines() if told.exists() else []
        if len(lines) == 2:
            return lines[0]
        if browser.poll() is not None or time.monotonic() > deadline:
            sys.exit("chromium.py: the browser does not get ready")
        time.sleep(0.02)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--ready", required=True)
    arguments, _ = parser.parse_known_args()
    # What ends last may still write into its profile.
    with tempfile.TemporaryDirectory(prefix="luws-chromium-", ignore_cleanup_errors=True) as profile:
        browser = subprocess.Popen(
            ["chromium", *OPTIONS, "--user-data-dir=" + profile, "about:blank"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": profile}, preexec_fn=die_with_parent)
        try:
            port = port_of(profile, browser)
            pathlib.Path(arguments.ready + ".new").write_text(f"devtools {port}\n", encoding="ascii")
            os.replace(arguments.ready + ".new", arguments.ready)
            sys.stdin.buffer.read()
        finally:
            os.killpg(browser.pid, signal.SIGKILL)
            browser.wait()


if __name__ == "__main__":
    main()
