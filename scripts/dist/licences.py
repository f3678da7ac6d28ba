#!/usr/bin/env python3
"""licences.py FOLDER TARGET FEATURES: copies the licence texts of everything that a module built so contains.

That is each crate that its library depends on, OpenSSL, which comes in the crate openssl-src, and Rust's own library.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

# How files with the terms of a licence begin.
NAMES = ("LICEN", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE")

# A build dependency, whose sources become part of the module all the same; what that depends on does not.
LINKED = "openssl-src"

HEAD = """\
What luws.so contains, under which licence, and where it is from. The texts are in the folders; a crate without a folder
has no text of its own.

"""


def output(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def packages(target, features):
    """The packages in the library, without that of luws, and without what only runs in the compiler."""
    command = [os.environ.get("CARGO", "cargo"), "metadata", "--format-version=1", "--locked"]
    metadata = json.loads(output(*command, "--filter-platform", target, "--features", features))
    package = {each["id"]: each for each in metadata["packages"]}
    node = {each["id"]: each for each in metadata["resolve"]["nodes"]}
    root = metadata["resolve"]["root"]
    found, left = set(), [root]
    while left:
        current = left.pop()
        kinds = {kind for each in package[current]["targets"] for kind in each["kind"]}
        if current not in found and "proc-macro" not in kinds:
            found.add(current)
            for each in node[current]["deps"] if package[current]["name"] != LINKED else ():
                is_linked = package[each["pkg"]]["name"] == LINKED
                if is_linked or any(kind["kind"] is None for kind in each["dep_kinds"]):
                    left.append(each["pkg"])
    return sorted((package[each] for each in found - {root}), key=lambda each: (each["name"], each["version"]))


def texts(folder):
    return [path for path in sorted(folder.iterdir()) if path.is_file() and path.name.upper().startswith(NAMES)]


def copy(files, to):
    to.mkdir(parents=True)
    for path in files:
        shutil.copyfile(path, to / path.name)


def main():
    folder, target, features = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    lines = []
    for each in packages(target, features):
        home = Path(each["manifest_path"]).parent
        name = f"{each['name']}-{each['version']}"
        lines.append(f"{name}: {each['license']}, {each['repository']}")
        files = texts(home)
        if files:
            copy(files, folder / name)
        if each["name"] == LINKED:
            copy(texts(home / "openssl"), folder / "OpenSSL")
            lines.append(f"OpenSSL {each['version'].partition('+')[2]}: Apache-2.0, https://www.openssl.org")
    compiler = output("rustc", "--version").strip()
    lines.append(f"The standard library of {compiler}: MIT OR Apache-2.0, https://www.rust-lang.org")
    rust = Path(output("rustc", "--print", "sysroot").strip()) / "share/doc/rust"
    if rust.is_dir() and texts(rust):
        copy(texts(rust), folder / "Rust")
    (folder / "README").write_text(HEAD + "\n".join(lines) + "\n")


main()
