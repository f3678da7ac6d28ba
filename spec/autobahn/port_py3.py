#!/usr/bin/env python3
"""Converts an installed autobahntestsuite 25.10.1 (Python 2) to Python 3.

Run by the interpreter of the virtual environment that holds the suite; works
in place, once.  Three steps for each module that the WebSocket modes need:

1. syntax: fissix (the lib2to3 fork), a fixed list of fixers;
2. bytes: in Python 2 every literal is a byte string, so each literal that
   ends up as WebSocket payload gets its b prefix.  Which literals those are is
   decided on the syntax tree (see PayloadLiterals), not per file;
3. edits: the handful of places where the code itself must change (EDITS).

Every edit must match exactly as often as it says, and every file must parse
afterwards: a release of the suite with other text fails loudly here instead of
half working.  What suite.py does not need is removed, since it stays Python 2:
the command line, WAMP, load tests.

One line of autobahn 0.10.9 (not of the suite) is fixed too.
"""

import ast
import os
import re
import sys
import warnings

warnings.filterwarnings("ignore")

SUITE_VERSION = "25.10.1"
AUTOBAHN_VERSION = "0.10.9"

FIXERS = ["fissix.fixes.fix_" + name for name in (
    "basestring", "dict", "except", "has_key", "import", "long", "ne",
    "numliterals", "paren", "print", "raise", "repr", "tuple_params", "xrange")]
# not "unicode": the u prefix tells text from bytes in step 2

# what suite.py uses, and the cases
MODULES = ["__init__.py", "_version.py", "caseset.py", "fuzzing.py", "report.py"]


def die(message):
    sys.exit("port_py3: " + message)


# --- step 2 -------------------------------------------------------------------

PAYLOAD_NAME = re.compile(r"payload|PAYLOAD\d*|ping_payload|pings|fragments")


def target_name(node):
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    return ""


class PayloadLiterals(ast.NodeVisitor):
    """Collects (node, kind) pairs to rewrite in a test case module.

    kind "bytes": a literal that is payload: assigned to a payload name, passed
    as payload or reasonUtf8, or the data of an expected ("message", data, ...)
    / ("ping", data) / ("pong", data) event.
    kind "slice": a one-octet subscript of a payload constant.
    """

    def __init__(self):
        self.found = []
        self.utf8_sequences = False

    def literals(self, node):
        """All string literals under node that are data rather than text."""
        if isinstance(node, ast.Constant):
            if isinstance(node.value, str) and node.kind != "u":
                self.found.append((node, "bytes"))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) \
                and node.func.attr in ("encode", "decode"):
            self.literals(node.func.value)      # not the codec's name
        else:
            for child in ast.iter_child_nodes(node):
                self.literals(child)

    def visit_FunctionDef(self, node):
        if node.name == "createUtf8TestSequences":
            self.utf8_sequences = True
            for stmt in node.body[1:]:          # all but the docstring
                self.visit(stmt)
            self.utf8_sequences = False
        else:
            self.generic_visit(node)

    def visit_Assign(self, node):
        if self.utf8_sequences:
            # vs = ["title", []]
            if not (isinstance(node.value, ast.List) and len(node.value.elts) == 2
                    and isinstance(node.value.elts[1], ast.List)):
                self.literals(node.value)
        elif any(PAYLOAD_NAME.fullmatch(target_name(t)) for t in node.targets):
            self.literals(node.value)
        self.visit_nested(node.value)

    def visit_nested(self, node):
        if not self.utf8_sequences:
            self.visit(node)
        else:
            for sub in ast.walk(node):
                self.chr_call(sub)

    def visit_For(self, node):
        if self.utf8_sequences:
            self.literals(node.iter)
        self.generic_visit(node)

    def visit_If(self, node):
        if self.utf8_sequences:
            self.literals(node.test)
        self.generic_visit(node)

    def visit_AugAssign(self, node):
        if self.utf8_sequences:
            self.literals(node.value)
            self.visit_nested(node.value)
        else:
            self.generic_visit(node)

    def visit_Expr(self, node):
        if self.utf8_sequences:
            self.literals(node.value)
        self.generic_visit(node)

    def chr_call(self, node):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) \
                and node.func.id == "chr":
            self.found.append((node, "chr"))

    def visit_Call(self, node):
        for kw in node.keywords:
            if kw.arg in ("payload", "reasonUtf8"):
                self.literals(kw.value)
        self.generic_visit(node)

    def visit_Tuple(self, node):
        if node.elts and isinstance(node.elts[0], ast.Constant) \
                and node.elts[0].value in ("message", "ping", "pong"):
            for elt in node.elts[1:]:
                self.literals(elt)
        self.generic_visit(node)

    def visit_Subscript(self, node):
        if re.fullmatch(r"PAYLOAD\d*", target_name(node.value)) \
                and isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, int):
            self.found.append((node, "slice"))
        self.generic_visit(node)


class Hexlify(ast.NodeVisitor):
    """binascii.b2a_hex() and hexlify() make text in all their uses here."""

    def __init__(self):
        self.found = []

    def visit_Call(self, node):
        if isinstance(node.func, ast.Attribute) and node.func.attr in ("b2a_hex", "hexlify"):
            self.found.append((node, "hex"))
        self.generic_visit(node)


def bytes_literal(literal):
    if literal[0] not in "'\"":
        die("unexpected literal prefix: " + literal)
    if "\\u" in literal or "\\N" in literal:
        die("text escape in a byte literal: " + literal)
    # octets of a literal with characters beyond ASCII: the files are UTF-8
    return "b" + "".join(c if ord(c) < 128 else
                         "".join("\\x%02x" % o for o in c.encode("utf-8")) for c in literal)


def rewrite(source, path, payloads):
    tree = ast.parse(source, path)
    found = {}
    visitors = [Hexlify()] + ([PayloadLiterals()] if payloads else [])
    for visitor in visitors:
        visitor.visit(tree)
        for node, kind in visitor.found:
            found[(node.lineno, node.col_offset, node.end_lineno, node.end_col_offset, kind)] = node

    # ast columns count UTF-8 octets
    data = source.encode("utf-8")
    starts = [0]
    for line in data.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    patches = []
    for (l0, c0, l1, c1, kind), node in found.items():
        begin, end = starts[l0 - 1] + c0, starts[l1 - 1] + c1
        text = data[begin:end].decode("utf-8")
        if kind == "bytes":
            patches.append((begin, end, bytes_literal(text)))
        elif kind == "hex":
            patches.append((end, end, '.decode("ascii")'))
        elif kind == "chr":
            inner = node.args[0]
            a = starts[inner.lineno - 1] + inner.col_offset
            b = starts[inner.end_lineno - 1] + inner.end_col_offset
            patches.append((begin, a, "bytes(["))
            patches.append((b, end, "])"))
        elif kind == "slice":
            i = node.slice.value
            a = starts[node.slice.lineno - 1] + node.slice.col_offset
            b = starts[node.slice.end_lineno - 1] + node.slice.end_col_offset
            patches.append((a, b, "%d:%d" % (i, i + 1)))
    for begin, end, text in sorted(patches, reverse=True):
        data = data[:begin] + text.encode("utf-8") + data[end:]
    return data.decode("utf-8")


# --- step 3 -------------------------------------------------------------------
# path: [(old, new, count)], on the text after steps 1 and 2

NEW_STYLE = ("(object, Case, )", "(Case, )", 1)

EDITS = {
    "__init__.py": [
        ("from . import %s\n" % module, "", 1) for module in (
            "choosereactor  # This MUST BE the FIRST file imported here! Do NOT touch.",
            "wstest", "echo", "broadcast", "massconnect", "testee", "spectemplate")
    ],
    "report.py": [
        # the part for the old per-database reports, which needs jinja2
        ("import jinja2\n", "", 1),
    ],
    "case/case.py": [
        # equal content; what pickles look like also depends on object identity
        ("return pickle.dumps(obj1) == pickle.dumps(obj2)", "return obj1 == obj2", 1),
    ],
    "case/case6_2_1.py": [("(PAYLOAD, binascii", "(PAYLOAD.decode('utf8'), binascii", 1)],
    "case/case6_2_2.py": [
        ("(PAYLOAD1, binascii", "(PAYLOAD1.decode('utf8'), binascii", 1),
        (", PAYLOAD2, binascii", ", PAYLOAD2.decode('utf8'), binascii", 1),
    ],
    "case/case6_2_3.py": [("(PAYLOAD, binascii", "(PAYLOAD.decode('utf8'), binascii", 1)],
    "case/case6_2_4.py": [("(PAYLOAD, binascii", "(PAYLOAD.decode('utf8'), binascii", 1)],
    "case/case6_x_x.py": [NEW_STYLE],
    "case/case7_7_X.py": [NEW_STYLE],
    "case/case7_9_X.py": [NEW_STYLE],
    "case/case9_7_X.py": [NEW_STYLE],
    "case/case10_1_1.py": [
        ("len(self.payload) / self.p.autoFragmentSize", "len(self.payload) // self.p.autoFragmentSize", 1),
    ],
    "case/case12_x_x.py": [("(object, Case, )", "(Case, )", 2)],
    "fuzzing.py": [
        # asciiLogData() works on octets
        ("def asciiLogData(data, maxlen = 64, replace = False):\n   ellipses = \" ...\"",
         "def asciiLogData(data, maxlen = 64, replace = False):\n   ellipses = b\" ...\"", 1),
        ("p = ''.join(payload)", "p = b''.join(payload)", 1),
        # messages and frames sent in the control dialogue
        ("self.sendMessage(json.dumps(len(self.factory.specCases)))",
         "self.sendMessage(json.dumps(len(self.factory.specCases)).encode('utf8'))", 1),
        ("            self.sendMessage(json.dumps({\n               'behavior':results['behavior']\n            }))",
         "            self.sendMessage(json.dumps({\n               'behavior':results['behavior']\n            }).encode('utf8'))", 1),
        ("CaseSet.caseClassToPrettyDescription(self.Case),\n         }))",
         "CaseSet.caseClassToPrettyDescription(self.Case),\n         }).encode('utf8'))", 1),
        ("payload = spec.get(\"payload\", \"\"), payload_len",
         "payload = spec.get(\"payload\", \"\").encode('utf8'), payload_len", 1),
        ("log.msg(\"Pong received: \" + payload)", "log.msg(\"Pong received: %r\" % payload)", 1),
        # text in the stored result
        ("\"localCloseReason\": self.localCloseReason,",
         "\"localCloseReason\": textOf(self.localCloseReason),", 1),
        ("\"httpRequest\": self.http_request_data if hasattr(self, 'http_request_data') else '?',",
         "\"httpRequest\": textOf(self.http_request_data) if hasattr(self, 'http_request_data') else '?',", 1),
        ("\"httpResponse\": self.http_response_data if hasattr(self, 'http_response_data') else '?',",
         "\"httpResponse\": textOf(self.http_response_data) if hasattr(self, 'http_response_data') else '?',", 1),
        ("def binLogData(data, maxlen = 64):",
         "def textOf(data):\n"
         "   return data.decode('utf8', 'replace') if isinstance(data, bytes) else data\n\n\n\n"
         "def binLogData(data, maxlen = 64):", 1),
        # reports
        ("open(os.path.join(outdir, report_filename), 'w')",
         "open(os.path.join(outdir, report_filename), 'w', encoding = 'utf8')", 4),
        ("% (c[0], case[c[0]], c[1])).encode(\"utf-8\"))", "% (c[0], case[c[0]], c[1])))", 1),
        ("(2+4+len(prefix))*\" \", ll.encode('utf8')))", "(2+4+len(prefix))*\" \", ll))", 1),
        ("mmask = binascii.b2a_hex(t[6]).decode(\"ascii\")", "mmask = t[6]", 1),
        # what only the command line needs: a web server beside the WebSocket one
        ("from twisted.web.server import Site\nfrom twisted.web.static import File\n", "", 1),
    ],
}

AUTOBAHN_EDITS = [
    ("for _ in range(payload_len / len(payload))])", "for _ in range(payload_len // len(payload))])", 1),
]


def edit(text, edits, path):
    for old, new, count in edits:
        n = text.count(old)
        if n != count:
            die("%s: %d times instead of %d: %r" % (path, n, count, old))
        text = text.replace(old, new)
    return text


# --- the run -------------------------------------------------------------------

def main():
    import importlib.metadata as metadata
    for name, want in (("autobahntestsuite", SUITE_VERSION), ("autobahn", AUTOBAHN_VERSION)):
        if metadata.version(name) != want:
            die("%s %s is installed, this works on %s" % (name, metadata.version(name), want))
    site = str(metadata.distribution("autobahntestsuite").locate_file(""))
    root = os.path.join(site, "autobahntestsuite")

    from fissix.refactor import RefactoringTool
    tool = RefactoringTool(FIXERS, {"print_function": False})

    keep = {os.path.join(root, m) for m in MODULES}
    for name in sorted(os.listdir(os.path.join(root, "case"))):
        # 9.9.1 is not in the suite's list of cases
        if name.endswith(".py") and name != "case9_9_1.py":
            keep.add(os.path.join(root, "case", name))

    if not os.path.exists(os.path.join(root, "wstest.py")):
        die("already converted")

    results, unused = {}, dict(EDITS)
    for path in sorted(keep):
        rel = os.path.relpath(path, root)
        with open(path, encoding="utf-8", newline="") as f:
            source = f.read().replace("\r\n", "\n")
        if not source.endswith("\n"):
            source += "\n"
        if rel == "case/__init__.py":
            source = edit(source, [("from case9_9_1 import *\n", "", 1)], rel)
        if rel == "report.py":
            # keep the style sheets and scripts, drop the classes after them
            source = source[:source.index("from zope.interface import implementer")]
        if rel == "fuzzing.py":
            # suite.py starts the two factories itself
            source = source[:source.index("def startClient(")]
        if rel == "case/case6_x_x.py":
            # the validator's own tests use Python 2 builtins and no case needs them
            a, b = source.index("def test_utf8(validator):"), source.index("Case6_X_X = []")
            source = source[:a] + source[b:]
            source = source[:source.index("import binascii\nimport array\n")]
        # imports are resolved against the files beside this one, so before any removal
        text = str(tool.refactor_string(source, path))
        text = rewrite(text, rel, rel.startswith("case/case") and rel != "case/case.py")
        text = edit(text, unused.pop(rel, []), rel)
        try:
            tree = ast.parse(text, rel)
        except SyntaxError as e:
            die("%s: %s" % (rel, e))
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and node.id in ("unicode", "unichr", "basestring", "long", "xrange"):
                die("%s:%d: %s" % (rel, node.lineno, node.id))
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
                die("%s:%d: a division, integer in Python 2" % (rel, node.lineno))
        results[path] = text
    if unused:
        die("edits for files that are not there: " + ", ".join(unused))

    path = os.path.join(site, "autobahn", "websocket", "protocol.py")
    with open(path, encoding="utf-8") as f:
        results[path] = edit(f.read(), AUTOBAHN_EDITS, "autobahn/websocket/protocol.py")

    for path, text in results.items():
        with open(path, "w", encoding="utf-8", newline="\n") as f:
            f.write(text)
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            if name.endswith((".py", ".pyc")) and path not in keep:
                os.remove(path)
    print("port_py3: converted %d modules of autobahntestsuite %s" % (len(keep), SUITE_VERSION))


if __name__ == "__main__":
    main()
