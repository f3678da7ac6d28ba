#!/usr/bin/env python3
"""Runs the Autobahn suite against luws and compares its verdicts with expected.json.

usage: run.py client|server|lua-server core|quick|full|CASES [--tls] [--lua INTERPRETER] [--jobs N] [--rewrite]

client: the suite's fuzzing server tests the module, in an interpreter (lua5.1).
server: its fuzzing client tests build/luws-demo-server.
lua-server: it tests a server in an interpreter (lua5.1); the verdicts must be those of the other server.
--tls: over wss; the same verdicts are expected.
core leaves out sections 9, 12 and 13; quick only the large messages of 12 and 13. CASES are patterns: 6.4.*,12.1.1

The sections are run as jobs, of which --jobs (as many as there are processors) run side by side. Each has a tester and
a testee of its own (the server's jobs share one server) and leaves its reports and logs in
build/autobahn-reports/ROLE/SECTION (ROLE-tls with --tls), where index.html is the page to start with.

Exit status: 0 if every case went as expected; 1 if one went otherwise, be it better or worse (--rewrite takes what was
seen into expected.json instead); 2 if the run was not possible; 3 if the suite itself failed.
"""

import argparse
import collections
import concurrent.futures
import contextlib
import fnmatch
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

HERE = pathlib.Path("spec/autobahn")
EXPECTED = HERE / "expected.json"
REPORTS = pathlib.Path("build/autobahn-reports")
PKI = pathlib.Path("build/pki")
SUITE = ["build/autobahn/bin/python", "-u", "-W", "ignore", str(HERE / "suite.py")]
NEEDED = {"client": "build/luws.so", "server": "build/luws-demo-server", "lua-server": "build/luws.so"}
AGENT = {"client": "luws", "server": "luws-demo-server", "lua-server": "luws"}

# The roles whose verdicts are expected of others.
LIKE = {"lua-server": "server"}

# What each set leaves out: 12 and 13 are about compression, and from their ninth case on the messages are large.
SETS = {
    "core": ["9.*", "12.*", "13.*"],
    "quick": ["1[23].*.%d" % n for n in (9, 10, 12, 13, 14, 15, 16, 17, 18)],
    "full": [],
}

# The jobs that take longest start first, so that none is left alone at the end.
SLOW = ("12.3", "12.2", "12.5")

START = 30          # seconds that a server has until it listens
JOB = 1200          # seconds that a job has; the slowest takes 100
END = 60            # seconds that a process has to write its reports once it is told to end
EXPLAINED = 20      # of so many differences it is said what the suite said; the reports have all


def fail(message):
    print("run.py: " + message, file=sys.stderr)
    sys.exit(2)


def number(case):
    return [int(part) for part in case.split(".")]


def section(case):
    """The job that a case belongs to: its section; the two large ones have a job for each subsection."""
    parts = case.split(".")
    return ".".join(parts[:2]) if parts[0] in ("12", "13") else parts[0]


def choose(wanted):
    """The jobs to run: section -> its cases."""
    known = subprocess.run(SUITE + ["cases"], check=True, capture_output=True, text=True).stdout.split()
    if wanted in SETS:
        cases = [c for c in known if not any(fnmatch.fnmatchcase(c, p) for p in SETS[wanted])]
    else:
        cases = [c for c in known if any(fnmatch.fnmatchcase(c, p) for p in wanted.split(","))]
    if not cases:
        fail("no case matches " + wanted)
    jobs = collections.defaultdict(list)
    for case in sorted(cases, key=number):
        jobs[section(case)].append(case)
    return dict(sorted(jobs.items(), key=lambda job: (job[0] not in SLOW, -len(job[1]))))


@contextlib.contextmanager
def running(command, log):
    """A process that ends with its standard input, so that it does not outlive us, however we end."""
    with open(log, "w", encoding="utf-8") as f:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=f, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.stdin.close()
        try:
            process.wait(END)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.returncode:
        raise RuntimeError("%s: exit status %d" % (log, process.returncode))


def content(path, process):
    """What is in the file by which a server says that it listens."""
    deadline = time.monotonic() + START
    while not path.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("%s did not come" % path)
        time.sleep(0.01)
    return path.read_text()


def test_client(lua, tls, directory, cases):
    if tls:
        words = ["tls-server", str(directory), str(PKI / "server.pem"), str(PKI / "server.key")]
        authority = [str(PKI / "ca.pem")]
    else:
        words, authority = ["server", str(directory)], []
    with running(SUITE + words + cases, directory / "suite.log") as suite:
        port = content(directory / "port", suite).strip()
        environment = dict(os.environ, LUA_PATH="", LUA_CPATH="./build/?.so")
        with open(directory / "testee.log", "w", encoding="utf-8") as log:
            testee = subprocess.run([lua, str(HERE / "testee_luws.lua"), port, AGENT["client"]] + authority,
                                    env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=JOB)
        if testee.returncode:
            raise RuntimeError("%s: exit status %d" % (log.name, testee.returncode))


def test_server(role, url, directory, cases):
    with running(SUITE + ["client", str(directory), url, AGENT[role]] + cases, directory / "suite.log") as suite:
        suite.wait(JOB)


def run(role, jobs, reports, lua, tls, workers):
    """Runs all jobs; what went wrong with them, as texts."""
    directories = {name: reports / name for name in jobs}
    shutil.rmtree(reports, ignore_errors=True)
    for directory in directories.values():
        directory.mkdir(parents=True)

    with contextlib.ExitStack() as stack:
        if role == "client":
            def test(name):
                test_client(lua, tls, directories[name], jobs[name])
        else:
            ready = reports / "ports"
            if role == "lua-server":
                command = ["env", "LUA_PATH=", "LUA_CPATH=./build/?.so", lua, str(HERE / "serve_luws.lua"), str(ready)]
            else:
                command = [NEEDED[role], "--until-stdin-closes", "--ready", str(ready)]
            if tls:
                command += ["--cert", str(PKI / "server.pem"), "--key", str(PKI / "server.key")]
            server = stack.enter_context(running(command, reports / "server.log"))
            ports = dict(line.split() for line in content(ready, server).splitlines())
            scheme = "wss" if tls else "ws"
            url = "%s://127.0.0.1:%s/echo" % (scheme, ports[scheme])

            def test(name):
                test_server(role, url, directories[name], jobs[name])

        pool = concurrent.futures.ThreadPoolExecutor(workers)
        stack.callback(pool.shutdown, cancel_futures=True)     # if we are interrupted, the rest is not started
        tests = {name: pool.submit(test, name) for name in jobs}
        return ["section %s: %s" % (name, test.exception()) for name, test in tests.items() if test.exception()]


def read_reports(role, jobs, directory_of_all):
    """The verdicts, case -> "BEHAVIOR/CLOSE", the reports, case -> path, and what the suite says of itself."""
    verdicts, reports, errors = {}, {}, []
    for name in jobs:
        directory = directory_of_all / name
        with contextlib.suppress(OSError), open(directory / "index.json", encoding="utf-8") as f:
            for case, result in json.load(f).get(AGENT[role], {}).items():
                verdicts[case] = result["behavior"] + "/" + result["behaviorClose"]
                reports[case] = directory / result["reportfile"]
        with contextlib.suppress(OSError), open(directory / "suite.log", encoding="utf-8", errors="replace") as f:
            errors += ["section %s: %s" % (name, line.strip()) for line in f if line.startswith("SUITE ERROR")]
    return verdicts, reports, errors


def show_summary(verdicts):
    counts = collections.defaultdict(collections.Counter)
    for case in sorted(verdicts, key=number):
        counts[section(case)][verdicts[case]] += 1
    for name, counter in counts.items():
        print("  %-5s %s" % (name, ", ".join("%3d %s" % (n, verdict) for verdict, n in counter.most_common())))


def show_difference(case, expected, verdict):
    print("  %-8s expected %s, seen %s" % (case, expected or "nothing", verdict or "nothing"))


def explain(report):
    with open(report, encoding="utf-8") as f:
        result = json.load(f)
    print("           behavior: %s" % result["result"])
    print("           close: %s (code %s)" % (result["resultClose"], result["remoteCloseCode"]))
    print("           %s" % report.with_suffix(".html"))


def rewrite(expected, role, verdicts):
    expected.setdefault(role, {}).update(verdicts)
    ordered = {role: {case: expected[role][case] for case in sorted(expected[role], key=number)}
               for role in sorted(expected)}
    EXPECTED.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")
    print("%s rewritten" % EXPECTED)


def main():
    summary, usage, details = __doc__.split("\n\n", 2)
    parser = argparse.ArgumentParser(usage=usage.split(": ", 1)[1], description=summary + "\n\n" + details,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("role", choices=NEEDED)
    parser.add_argument("cases")
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--lua", default="lua5.1")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--rewrite", action="store_true")
    args = parser.parse_args()

    os.chdir(pathlib.Path(__file__).resolve().parents[2])
    for path in ("build/autobahn/stamp", NEEDED[args.role]):
        if not os.path.exists(path):
            fail("%s is missing; `make autobahn` provides it" % path)
    if args.role != "server" and not shutil.which(args.lua):
        fail("there is no " + args.lua)
    if args.role == "lua-server" and args.tls:
        fail("the server in Lua is tested over ws")

    jobs = choose(args.cases)
    wanted = [case for cases in jobs.values() for case in cases]
    title = args.role + (" on " + args.lua if args.role != "server" else "") + (" over wss" if args.tls else "")
    directory = REPORTS / (args.role + ("-tls" if args.tls else ""))
    if args.tls:
        subprocess.run(["bash", "spec/support/pki.sh", str(PKI)], check=True)
    print("Autobahn suite, %s: %d cases" % (title, len(wanted)), flush=True)
    started = time.monotonic()
    try:
        wrong = run(args.role, jobs, directory, args.lua, args.tls, args.jobs)
    except RuntimeError as error:
        wrong = [str(error)]
    seconds = time.monotonic() - started

    verdicts, reports, errors = read_reports(args.role, jobs, directory)
    expected = json.loads(EXPECTED.read_text(encoding="utf-8"))
    like = LIKE.get(args.role, args.role)
    show_summary(verdicts)
    if wrong or errors:
        print("\n".join(wrong + errors))
    if args.rewrite and not wrong and not errors:
        rewrite(expected, like, verdicts)
    different = [c for c in wanted if verdicts.get(c) != expected.get(like, {}).get(c)]
    for i, case in enumerate(different):
        show_difference(case, expected.get(like, {}).get(case), verdicts.get(case))
        if i < EXPLAINED and case in reports:
            explain(reports[case])
    print("%s: %d cases in %.0f s, %s" % (
        title, len(verdicts), seconds, "%d not as expected" % len(different) if different else "as expected"))
    sys.exit(3 if errors else 1 if different or wrong else 0)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
