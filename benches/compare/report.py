"""Reports the results of `make bench`: a table, a chart, and the missed targets. It measures nothing.

Each ratio compares luws with another client in the same turn, one after the other, so that a temporary slowdown of the
machine affects both. The table gives the median of all turns, with the minimum and the maximum.
"""

import json
import pathlib
import re
import statistics
import sys

DOCS = pathlib.Path("docs")
MARKS = ("<!-- the table, by `make bench-docs` -->\n", "<!-- the end of the table -->")

# These clients have a column of their own in the table if they were measured; the others share one.
COLUMNS = ("before", "original", "floor", "tungstenite")
OTHERS = {"raw": "socket", "openssl": "OpenSSL", "steps": "LuaSocket and LuaSec", "select": "select",
          "waiting": "wswait"}

# The bars of the chart end here, however large the ratio is.
LONGEST_BAR = 3.0


def seconds(value):
    for unit, factor in (("s", 1), ("ms", 1e3), ("µs", 1e6), ("ns", 1e9)):
        if value * factor >= 1 or unit == "ns":
            return "%.3g %s" % (value * factor, unit) if value * factor < 1000 else "%.0f %s" % (value * factor, unit)


class Measured:
    """The results of a row for one interpreter."""

    def __init__(self, row, lua):
        self.row, self.lua, self.name = row, lua, row["name"]
        self.values = {result["client"]: [repetition[row["measure"]] for repetition in result["repetitions"]]
                       for result in row["results"] if result["lua"] in (lua, None)}

    def time(self, client):
        return statistics.median(self.values[client])

    def ratios(self, client):
        return [own / other for own, other in zip(self.values["luws"], self.values[client])]

    def ratio(self, client):
        return statistics.median(self.ratios(client))

    def targets(self):
        return [(target["client"], target["factor"]) for target in self.row["targets"] if target["lua"] == self.lua]

    def missed(self):
        return [client for client, factor in self.targets() if self.ratio(client) > factor]


def measured(results):
    for row in results["rows"]:
        for lua in dict.fromkeys(result["lua"] for result in row["results"] if result["lua"]):
            yield Measured(row, lua)


def missed(results):
    return ["%s (%s, %s)" % (it.name, it.lua, OTHERS.get(client, client))
            for it in measured(results) for client in it.missed()]


def cells(it, client):
    if client not in it.values:
        return ["", ""]
    ratios = it.ratios(client)
    return [seconds(it.time(client)), "%.2f (%.2f..%.2f)" % (statistics.median(ratios), min(ratios), max(ratios))]


def table(results):
    all_measured = list(measured(results))
    columns = [client for client in COLUMNS if any(client in it.values for it in all_measured)]
    lines = [["row", "", "luws"] + [cell for client in columns for cell in (client, "ratio")]
             + ["other", "ratio", "target", ""]]
    for it in all_measured:
        line = [it.name, it.lua, seconds(it.time("luws"))]
        for client in columns:
            line += cells(it, client)
        other = next((client for client in OTHERS if client in it.values), None)
        time, ratio = cells(it, other)
        line += ["%s %s" % (OTHERS[other], time) if other else "", ratio]
        line.append(", ".join("%g %s" % (factor, OTHERS.get(client, client)) for client, factor in it.targets()))
        gone = it.missed()
        line.append("MISS: " + ", ".join(OTHERS.get(client, client) for client in gone) if gone
                    else "ok" if it.targets() else "")
        lines.append(line)
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    lines.insert(1, ["-" * max(width, 3) for width in widths])
    text = "".join("| %s |\n" % " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) for line in lines)
    known = results["machine"]
    return text + "\n%s, %d processors, Linux %s, %s; %s; %s; %s; %s. %s UTC, `%s`.\n" % (
        known["cpu"], known["processors"], known["kernel"], known["libc"], known["lua5.1"].split("  ")[0],
        known["luajit"].split(" -- ")[0], known["openssl"].split(" (")[0], known["rustc"].split(" (")[0],
        results["date"][:16].replace("T", " "), results["command"])


STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2328 }
  .lua51 { fill: #2f6fb4 } .luajit { fill: #c8762b }
  .axis { stroke: #8b949e } .target { stroke: #1f2328; stroke-width: 3 }
  .figure { font-size: 11px } .background { fill: #ffffff }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .background { fill: #0d1117 } .target { stroke: #e6edf3 }
    .lua51 { fill: #6aa5e3 } .luajit { fill: #e5a35f }
  }"""


def chart(results):
    """Returns an SVG with the time of luws as a multiple of the floor's; ticks mark the targets."""
    rows = {}
    for it in measured(results):
        if "floor" in it.values:
            rows.setdefault(it.name, []).append(it)
    left, scale, bar, gap = 200, 170, 11, 12
    width = left + LONGEST_BAR * scale + 60
    top, parts = 58, []
    y = top
    for name, pair in rows.items():
        parts.append('<text x="%d" y="%.1f" text-anchor="end">%s</text>'
                     % (left - 10, y + len(pair) * bar / 2 + 4, name))
        for it in pair:
            ratio = it.ratio("floor")
            length = min(ratio, LONGEST_BAR) * scale
            parts.append('<rect class="%s" x="%d" y="%d" width="%.1f" height="%d"/>'
                         % (it.lua.replace(".", ""), left, y, length, bar - 1))
            parts.append('<text class="figure" x="%.1f" y="%.1f">%.2f%s</text>'
                         % (left + length + 6, y + bar - 2, ratio, " …" if ratio > LONGEST_BAR else ""))
            for client, factor in it.targets():
                if client == "floor":
                    x = left + factor * scale
                    parts.append('<path class="target" d="M%.1f %.1fv%d"/>' % (x, y - 1, bar + 1))
            y += bar
        y += gap
    for factor in range(int(LONGEST_BAR) + 1):
        x = left + factor * scale
        parts.insert(0, '<path class="axis" d="M%d %dV%d" stroke-dasharray="%s"/><text class="figure" x="%d" y="%d" '
                     'text-anchor="middle">%d</text>'
                     % (x, top - 6, y, "none" if factor in (0, 1) else "2 4", x, top - 10, factor))
    height = y + 10
    legend = ('<text x="10" y="20">What luws needs; the floor is 1. Shorter is better.</text>'
              '<rect class="lua51" x="%d" y="10" width="11" height="11"/><text x="%d" y="20">Lua 5.1</text>'
              '<rect class="luajit" x="%d" y="10" width="11" height="11"/><text x="%d" y="20">LuaJIT</text>'
              '<path class="target" d="M%d 9v13"/><text x="%d" y="20">target</text>'
              % (left + 210, left + 226, left + 290, left + 306, left + 370, left + 378))
    return ('<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img">\n'
            "<title>luws beside the floor</title>\n<style>%s\n</style>\n"
            '<rect class="background" width="100%%" height="100%%"/>\n%s\n%s\n</svg>\n'
            % (width, height, width, height, STYLE, legend, "\n".join(parts)))


def publish(out):
    """Puts the table and the chart of the last run into the docs."""
    try:
        results = json.loads((out / "results.json").read_text())
    except OSError:
        sys.exit("report.py: there are no results: run `make bench` first")
    if not results["complete"]:
        sys.exit("report.py: the last run was not a full one")
    page = DOCS / "speed.md"
    begin, end = MARKS
    text = page.read_text()
    if begin not in text or end not in text:
        sys.exit("report.py: %s has no place for the table" % page)
    text = re.sub(re.escape(begin) + ".*?" + re.escape(end), lambda _: begin + "\n" + table(results) + "\n" + end, text,
                  flags=re.DOTALL)
    page.write_text(text)
    (DOCS / "speed.svg").write_text(chart(results))
