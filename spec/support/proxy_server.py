#!/usr/bin/env python3
"""Proxies that people use, each set up for the specs: it lets the client connect to this machine.

    microsocks    SOCKS5: port `open`; `auth` for the user `me` with the password `s3cret`
    danted        SOCKS5 and SOCKS4: port `open`
    tinyproxy     HTTP: port `open`; `auth` asks that user for Basic; `tls` is `open` over TLS
    squid         HTTP: port `open`; `basic` and `digest` ask that user for a password; `tls` is `digest` over TLS

Started once per run: `proxy_server.py PROGRAM --ready FILE --cert PEM --key PEM`. It writes its ports to FILE, as `name
PORT`. At the end of its standard input it ends, together with the proxies and all of their files. It knows nothing of
the servers and clients that they connect.
"""

import argparse
import asyncio
import ctypes
import getpass
import hashlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

PATIENCE = 20.0  # seconds for a proxy to answer
USER, PASSWORD, REALM = "me", "s3cret", "the proxy"

DANTE = """
logoutput: {folder}/log
internal: 127.0.0.1 port = {open}
external: lo
clientmethod: none
socksmethod: none
user.privileged: {user}
user.unprivileged: {user}
client pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 }}
socks block {{ from: 127.0.0.0/8 to: 127.0.0.0/8 port = 1 }}
socks pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 }}
"""

TINYPROXY = """
Port {port}
Listen 127.0.0.1
Timeout 60
LogFile "{folder}/log"
MaxClients 50
Allow 127.0.0.1
{auth}
"""

SQUID = """
http_port 127.0.0.1:{port}
pid_filename {folder}/pid
cache_log {folder}/log
access_log none
cache_store_log none
cache deny all
coredump_dir {folder}
shutdown_lifetime 0 seconds
netdb_filename none
pinger_enable off
{auth}
http_access {access}
http_access deny all
"""

SQUID_BASIC = """
auth_param basic program {helpers}/basic_ncsa_auth {folder}/passwords
auth_param basic children 1 startup=1
auth_param basic realm {realm}
acl known proxy_auth REQUIRED
"""

SQUID_DIGEST = """
auth_param digest program {helpers}/digest_file_auth -c {folder}/hashes
auth_param digest children 1 startup=1
auth_param digest realm {realm}
auth_param digest nonce_garbage_interval 1 minute
acl known proxy_auth REQUIRED
"""


def die_with_parent():
    # PR_SET_PDEATHSIG: whatever happens to us, the proxies end.
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def free_port():
    # None of these programs accepts port 0 and says what it got.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class Proxies:
    def __init__(self, folder, cert, key):
        self.folder, self.cert, self.key = folder, cert, key
        self.ports, self.children = {}, []

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
        return path

    def start(self, *words):
        # On Debian some of them are in a directory that only root's PATH includes.
        program = shutil.which(words[0], path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
        if not program:
            sys.exit(f"proxy_server.py: there is no {words[0]}")
        with open(os.path.join(self.folder, "output"), "ab") as output:
            self.children.append(subprocess.Popen(
                [program, *words[1:]], stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=self.folder,
                preexec_fn=die_with_parent))

    def microsocks(self):
        for name, auth in (("open", []), ("auth", ["-u", USER, "-P", PASSWORD])):
            self.ports[name] = free_port()
            self.start("microsocks", "-i", "127.0.0.1", "-p", str(self.ports[name]), *auth)

    def danted(self):
        self.ports["open"] = free_port()
        path = self.write("danted.conf", DANTE.format(folder=self.folder, user=getpass.getuser(), **self.ports))
        self.start("danted", "-f", path, "-p", os.path.join(self.folder, "pid"))

    def tinyproxy(self):
        for name, auth in (("open", ""), ("auth", f"BasicAuth {USER} {PASSWORD}")):
            self.ports[name] = free_port()
            text = TINYPROXY.format(port=self.ports[name], folder=self.folder, auth=auth)
            self.start("tinyproxy", "-d", "-c", self.write(name + ".conf", text))
        self.put_tls_before("open")

    def squid(self):
        helpers = "/usr/lib/squid"
        digest = hashlib.md5(f"{USER}:{REALM}:{PASSWORD}".encode()).hexdigest()
        self.write("hashes", f"{USER}:{REALM}:{digest}\n")
        crypted = subprocess.run(["openssl", "passwd", "-apr1", PASSWORD], check=True, capture_output=True, text=True)
        self.write("passwords", f"{USER}:{crypted.stdout}")
        for name, auth in (("open", ""), ("basic", SQUID_BASIC), ("digest", SQUID_DIGEST)):
            folder = os.path.join(self.folder, name)
            os.mkdir(folder)
            os.chmod(folder, 0o777)
            self.ports[name] = free_port()
            auth = auth.format(helpers=helpers, folder=self.folder, realm=REALM)
            text = SQUID.format(port=self.ports[name], folder=folder, auth=auth, access="allow known" if auth else
                                "allow localhost")
            self.start("squid", "-N", "-f", self.write(name + ".conf", text))
        self.put_tls_before("digest")

    def put_tls_before(self, name):
        """Has a thread speak TLS with the client, and hand on to the port of this name."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.cert, self.key)
        listener = socket.create_server(("127.0.0.1", 0))
        self.ports["tls"] = listener.getsockname()[1]
        target = self.ports[name]

        async def pipe(reader, writer):
            try:
                while data := await reader.read(65536):
                    writer.write(data)
                    await writer.drain()
            except OSError:
                pass
            finally:
                writer.close()

        async def serve(reader, writer):
            try:
                there = await asyncio.open_connection("127.0.0.1", target)
            except OSError:
                writer.close()
                return
            await asyncio.gather(pipe(reader, there[1]), pipe(there[0], writer))

        async def run():
            server = await asyncio.start_server(serve, sock=listener, ssl=context)
            await server.serve_forever()

        threading.Thread(target=asyncio.run, args=(run(),), daemon=True).start()

    def wait(self):
        deadline = time.monotonic() + PATIENCE
        for name, port in self.ports.items():
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    ended = any(child.poll() is not None for child in self.children)
                    if ended or time.monotonic() > deadline:
                        with open(os.path.join(self.folder, "output"), encoding="utf-8", errors="replace") as file:
                            sys.exit(f"proxy_server.py: nobody answers on the port {name}\n{file.read()}")
                    time.sleep(0.01)

    def end(self):
        for child in self.children:
            child.terminate()
        for child in self.children:
            try:
                child.wait(5)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("program", choices=["microsocks", "danted", "tinyproxy", "squid"])
    parser.add_argument("--ready", required=True)
    parser.add_argument("--cert", required=True)
    parser.add_argument("--key", required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="luws-proxy-") as folder:
        os.chmod(folder, 0o755)
        proxies = Proxies(folder, os.path.abspath(arguments.cert), os.path.abspath(arguments.key))
        try:
            getattr(proxies, arguments.program)()
            proxies.wait()
            with open(arguments.ready + ".new", "w", encoding="ascii") as ready:
                ready.write("".join(f"{name} {port}\n" for name, port in proxies.ports.items()))
            os.replace(arguments.ready + ".new", arguments.ready)
            sys.stdin.buffer.read()
        finally:
            proxies.end()


if __name__ == "__main__":
    main()
