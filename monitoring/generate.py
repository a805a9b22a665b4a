#!/usr/bin/env python3
"""Writes what follows from other files: the alert tests, the Grafana dashboards and the tables of docs/monitoring.md.

generate.py          writes the files
generate.py --check  writes nothing; exit code 1 and a list if a file is not up to date
"""

import json
import pathlib
import re
import sys
import tomllib

import sources
from grafana import dashboards

DOCUMENT = sources.ROOT / "docs/monitoring.md"


def alert_tests():
    """tests/alerts.yml from tests/cases.toml. Annotations and evaluation order come from the rules."""
    with open(sources.HERE / "tests/cases.toml", "rb") as file:
        cases = tomllib.load(file)["alert"]
    alerts = {}
    for rule in sources.rules("alert_rules.yml"):
        alerts.setdefault(rule["name"], rule)
    groups = list(dict.fromkeys(r["group"] for f in ("recording_rules.yml", "alert_rules.yml") for r in sources.rules(f)))
    lines = [
        "# Generated from cases.toml by monitoring/generate.py.",
        "rule_files: [../recording_rules.yml, ../alert_rules.yml]",
        "evaluation_interval: 1m",
        f"group_eval_order: [{', '.join(groups)}]",
        "tests:",
    ]
    for case in cases:
        runbook = alerts[case["name"]]["runbook_url"]
        for values, expected in case["steps"]:
            lines += ["  - interval: 1m", "    input_series:"]
            for text in case["series"]:
                for number, value in enumerate(values, 1):
                    text = text.replace(f"${number}", value)
                name, samples = re.match(r"(\S+?(?:\{.*\})?) (.+)", text).groups()
                lines += [f"      - series: '{name}'", f"        values: '{samples}'"]
            lines += ["    alert_rule_test:", f"      - eval_time: {case['at']}", f"        alertname: {case['name']}"]
            lines.append("        exp_alerts:" + ("" if expected else " []"))
            for alert in expected:
                severity, labels, summary = (part.strip() for part in alert.split("|"))
                labels = dict([("severity", severity)] + [pair.split("=", 1) for pair in labels.split()])
                lines.append("          - exp_labels: " + json.dumps(labels))
                lines.append(
                    "            exp_annotations: " + json.dumps({"summary": summary, "runbook_url": runbook}, ensure_ascii=False)
                )
    return "\n".join(lines) + "\n"


def table(header, rows):
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, ["---"] * len(header), *rows]) + "\n"


def code(text):
    """Inline code that a table cell can hold."""
    return "`" + text.replace("|", "\\|") + "`"


def alert_table():
    rows = []
    for rule in sources.rules("alert_rules.yml"):
        meaning = re.sub(r"\{\{ \$labels\.(\w+) \}\}", r"*\1*", rule["summary"])
        meaning = re.sub(r"\{\{ \$value[^}]*\}\}", "*n*", meaning)
        rows.append([f"[{rule['name']}](runbooks/{rule['name']}.md)", rule["labels"]["severity"], rule["for"], meaning])
    return table(["alert", "severity", "for", "meaning"], rows)


def recording_table():
    return table(["series", "expression"], [[code(r["name"]), code(r["expr"])] for r in sources.rules("recording_rules.yml")])


def panel_tables():
    """One table for each dashboard. Panels that all services have are listed once."""
    boards = [board for board in dashboards.BOARDS if board.listed]
    titles = [{panel.title for panel in board.panels} for board in boards if board in dashboards.SERVICE_BOARDS]
    shared = set.intersection(*titles)

    def panels(board, keep):
        rows = [[p.title, p.about, ", ".join(f"[{a}](runbooks/{a}.md)" for a in p.alerts)] for p in board.panels if keep(p.title)]
        return table(["panel", "meaning", "alerts"], rows)

    parts = []
    for board in boards:
        of_service = board in dashboards.SERVICE_BOARDS
        if board is dashboards.SERVICE_BOARDS[0]:
            parts.append("**Every service**\n\n" + panels(board, shared.__contains__))
        parts.append(
            f"**{board.title}** (`{board.uid}`): {board.about}\n\n"
            + panels(board, lambda title: not (of_service and title in shared))
        )
    return "\n".join(parts)


def exporter_table():
    rows = [
        [f"`{n}`", m["exporter"], ", ".join(f"`{l}`" for l in sorted(m["labels"])), m["reason"]]
        for n, m in sources.exporter_metrics().items()
    ]
    return table(["name", "exporter", "labels", "use"], rows)


def document():
    """docs/monitoring.md with its generated parts replaced."""
    text = DOCUMENT.read_text()
    for name, part in {
        "alerts": alert_table,
        "recording rules": recording_table,
        "panels": panel_tables,
        "exporter metrics": exporter_table,
    }.items():
        pattern = rf"(<!-- generated: {name} -->\n\n).*?(\n?<!-- end -->)"
        assert re.search(pattern, text, re.S), f"{DOCUMENT} has no part '{name}'"
        text = re.sub(pattern, lambda m: m[1] + part() + "\n" + "<!-- end -->", text, flags=re.S)
    return text


def outputs():
    """Path → content of every generated file."""
    return {
        sources.HERE / "tests/alerts.yml": alert_tests(),
        DOCUMENT: document(),
        **{sources.HERE / "grafana" / path: content for path, content in dashboards.files().items()},
    }


def main():
    stale = []
    for path, content in outputs().items():
        if "--check" in sys.argv:
            if not path.exists() or path.read_text() != content:
                stale.append(str(path.relative_to(sources.ROOT)))
        else:
            pathlib.Path(path).write_text(content)
    if stale:
        sys.exit("not up to date, run monitoring/generate.py: " + ", ".join(stale))


if __name__ == "__main__":
    main()
