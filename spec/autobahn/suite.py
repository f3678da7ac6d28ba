"""The Autobahn suite's two testers, and its list of cases. Run by build/autobahn's interpreter, for run.py.

usage: suite.py cases
       suite.py server DIRECTORY CASE...       tests clients, which ask for /runCase?case=N&agent=NAME
       suite.py tls-server DIRECTORY CERTIFICATE KEY CASE...   the same over wss
       suite.py client DIRECTORY URL AGENT CASE...   tests the server at URL, ws or wss

The server listens on a free port of 127.0.0.1 and says which in DIRECTORY/port. Its CASEs are numbered from 1, in the
order of their numbers. Both write their reports into DIRECTORY before they end: the client when it has run its cases,
the server at the end of its standard input. So neither outlives whoever started it.
"""

import os
import sys
import threading

from twisted.internet import reactor, ssl
from twisted.python import log

from autobahn.twisted.websocket import listenWS
from autobahntestsuite import fuzzing
from autobahntestsuite.case import CaseBasename, Cases

PATIENCE = 10   # seconds that connections have to end after the end of standard input


def say_errors(event):
    """An exception in the suite itself must not pass for a failure of the testee; run.py looks for this."""
    if event.get("isError"):
        print("SUITE ERROR: %s" % log.textFromEventDict(event), flush=True)


def at_end_of_stdin(do):
    def wait():
        # not sys.stdin, whose lock the interpreter wants when it ends
        while os.read(0, 4096):
            pass
        reactor.callFromThread(do)
    threading.Thread(target=wait, daemon=True).start()


def tls_server(directory, certificate, key, *cases):
    serve("wss://127.0.0.1:0", ssl.DefaultOpenSSLContextFactory(key, certificate), directory, cases)


def server(directory, *cases):
    serve("ws://127.0.0.1:0", None, directory, cases)


def serve(url, context, directory, cases):
    factory = fuzzing.FuzzingServerFactory({"url": url, "outdir": directory, "cases": cases})
    listener = listenWS(factory, context, interface="127.0.0.1")
    port = listener.getHost().port
    factory.externalPort = port     # what it compares the Host header with

    def finish(patience=PATIENCE):
        # a case counts once its connection is gone, and the client may be ahead of us
        if factory.countConnections and patience > 0:
            reactor.callLater(0.01, finish, patience - 0.01)
        else:
            factory.createReports()
            reactor.stop()

    def end():
        listener.stopListening()
        finish()

    at_end_of_stdin(end)

    # whoever waits for the file must not see half of it
    path = os.path.join(directory, "port")
    with open(path + ".part", "w") as f:
        f.write(str(port))
    os.rename(path + ".part", path)


def client(directory, url, agent, *cases):
    fuzzing.FuzzingClientFactory({
        "servers": [{"url": url, "agent": agent}], "outdir": directory, "cases": cases})
    at_end_of_stdin(reactor.stop)


def main():
    command, arguments = sys.argv[1], sys.argv[2:]
    if command == "cases":
        for case in Cases:
            print(case.__name__[len(CaseBasename):].replace("_", "."))
        return
    log.addObserver(say_errors)
    {"server": server, "tls-server": tls_server, "client": client}[command](*arguments)
    reactor.run()


if __name__ == "__main__":
    main()
