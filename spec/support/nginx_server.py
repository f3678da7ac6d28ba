#!/usr/bin/env python3
"""nginx, set up as people put it before their WebSocket servers: it speaks TLS with the client, but not with the
server.

    wss://localhost:PORT/SERVER/path            is passed on to ws://127.0.0.1:SERVER/path
    wss://localhost:PORT/private/SERVER/path    the same for the user `me` with the password `secret` (Basic)
    wss://localhost:PORT/moved/path             is a redirect to /path, and sets the cookie `moved`

So it can stand before any server of the run. It listens on one port for each choice of TLS versions (PORTS). It knows
nothing of the servers and clients that it connects.

Started once per run: `nginx_server.py --ready FILE --cert PEM --key PEM`. It writes its ports to FILE, as `name PORT`.
At the end of its standard input it ends, together with nginx and all of nginx's files.
"""

import argparse
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

PATIENCE = 10.0  # seconds for nginx to answer

PORTS = {
    "tls12": "TLSv1.2",
    "tls13": "TLSv1.3",
    "both": "TLSv1.2 TLSv1.3",
}

# Runs in the foreground, with all files in one directory. A single process (master_process off) would be enough, but it
# crashes on inherited sockets.
CONFIGURATION = """
daemon off;
worker_processes 1;
pid nginx.pid;
error_log error.log;
events { worker_connections 64; }
http {
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    map $http_upgrade $connection_upgrade { default upgrade; "" close; }
    ssl_certificate %(cert)s;
    ssl_certificate_key %(key)s;
    proxy_http_version 1.1;
    proxy_set_header Host $http_host;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection $connection_upgrade;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
%(servers)s}
"""

SERVER = """    server {
        listen 127.0.0.1:%(port)d ssl;
        ssl_protocols %(versions)s;
        location ~ ^/moved(?<path>/.*)$ {
            add_header Set-Cookie "moved=yes; Secure; Path=/" always;
            return 301 $path;
        }
        location ~ ^/private/(?<server>\\d+)(?<path>/.*)$ {
            auth_basic "luws";
            auth_basic_user_file users;
            proxy_pass http://127.0.0.1:$server$path$is_args$args;
        }
        location ~ ^/(?<server>\\d+)(?<path>/.*)$ { proxy_pass http://127.0.0.1:$server$path$is_args$args; }
    }
"""


def die_with_parent():
    # PR_SET_PDEATHSIG: whatever happens to us, nginx ends its workers and itself.
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--ready", required=True)
    parser.add_argument("--cert", required=True)
    parser.add_argument("--key", required=True)
    arguments = parser.parse_args()
    # On Debian it is in a directory that only root's PATH includes.
    program = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if not program:
        sys.exit("nginx_server.py: there is no nginx")
    # nginx does not accept port 0, but it can inherit listening sockets, a mechanism meant for its own successor.
    listeners = {name: socket.create_server(("127.0.0.1", 0)) for name in PORTS}
    ports = {name: listener.getsockname()[1] for name, listener in listeners.items()}
    descriptors = [listener.fileno() for listener in listeners.values()]
    servers = "".join(SERVER % {"port": ports[name], "versions": versions} for name, versions in PORTS.items())
    with tempfile.TemporaryDirectory(prefix="luws-nginx-") as prefix:
        with open(prefix + "/nginx.conf", "w", encoding="ascii") as file:
            file.write(CONFIGURATION % {
                "cert": os.path.abspath(arguments.cert), "key": os.path.abspath(arguments.key), "servers": servers})
        with open(prefix + "/users", "w", encoding="ascii") as file:
            file.write("me:{PLAIN}secret\n")
        os.chmod(prefix, 0o711)  # root's nginx reads that file as another user
        nginx = subprocess.Popen(
            [program, "-p", prefix, "-c", prefix + "/nginx.conf", "-e", prefix + "/error.log"],
            stdin=subprocess.DEVNULL, env={**os.environ, "NGINX": "".join(f"{number};" for number in descriptors)},
            pass_fds=descriptors, preexec_fn=die_with_parent)
        try:
            for listener in listeners.values():
                listener.close()
            # The sockets already listen, so a successful connect would not show that anybody accepts.
            deadline = time.monotonic() + PATIENCE
            while not os.path.exists(prefix + "/nginx.pid"):
                if nginx.poll() is not None or time.monotonic() > deadline:
                    with open(prefix + "/error.log", encoding="utf-8", errors="replace") as file:
                        sys.exit("nginx_server.py: nginx has not begun to work\n" + file.read())
                time.sleep(0.005)
            with open(arguments.ready + ".new", "w", encoding="ascii") as ready:
                ready.write("".join(f"{name} {port}\n" for name, port in ports.items()))
            os.replace(arguments.ready + ".new", arguments.ready)
            sys.stdin.buffer.read()
        finally:
            nginx.terminate()
            nginx.wait()


if __name__ == "__main__":
    main()
