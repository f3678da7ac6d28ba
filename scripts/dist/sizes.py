#!/usr/bin/env python3
"""sizes.py MODULE SOURCES: prints what a module with symbols is made of: each crate, and the driver by folder.

Functions and tables have symbols, from whose names the crate is read. Strings, relocations and the tables for
unwinding have none. SOURCES is the folder of the driver's sources as build.rs has put them into the module:
compressed.
"""

import collections
import re
import subprocess
import sys
from pathlib import Path

# So many crates are named one by one.
MOST = 12

# The sections that a process gets to see: the others are stripped.
LOADED = re.compile(r"^\s*\d+ (\S+)\s+([0-9a-f]+) .*\n.*\bCONTENTS, ALLOC", re.MULTILINE)
SYMBOL = re.compile(r"^[0-9a-f]+ ([0-9a-f]+) [tTrRdDwWvV] (.*)$", re.MULTILINE)
# The first path in a name: `<luws::url::Url as core::fmt::Debug>::fmt` is luws's.
CRATE = re.compile(r"(?:^|[<&\s(\[])(?:dyn |mut |\*const |\*mut )*([a-z_]\w*)(?:\[[0-9a-f]+\])?::")


def output(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def print_rows(rows):
    for name, size in rows:
        print(f"  {size / 1024:8.0f} KiB  {name}")


def main():
    module, sources = sys.argv[1], Path(sys.argv[2])
    crates, seen = collections.Counter(), 0
    for size, name in SYMBOL.findall(output("nm", "--print-size", "--demangle", "--defined-only", module)):
        found = CRATE.search(name)
        crates["crate " + found[1] if found else "OpenSSL, and what else is C"] += int(size, 16)
        seen += int(size, 16)
    folders = collections.Counter()
    for path in sources.rglob("*.deflate"):
        folder = path.relative_to(sources).parent
        folders["driver " + ("" if folder == Path(".") else str(folder) + "/")] += path.stat().st_size
    total = sum(int(size, 16) for _, size in LOADED.findall(output("objdump", "--section-headers", module)))
    rows = crates.most_common()
    print_rows(rows[:MOST])
    print_rows([(f"{len(rows) - MOST} smaller crates", sum(size for _, size in rows[MOST:]))])
    print_rows(folders.most_common())
    rest = total - seen - sum(folders.values())
    print_rows([("strings, relocations, tables for unwinding", rest), ("in all", total)])


main()
