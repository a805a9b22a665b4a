#!/usr/bin/env python3
"""Checks that the monitoring files agree with each other and with the code's documents.

- Every series and label of every rule and panel is in docs/metrics.md, exporter_metrics.toml or recording_rules.yml, and every entry
  of exporter_metrics.toml is used.
- Every alert has a severity, a summary, a test and a runbook; every runbook has its alert and the five sections. Runbooks of incidents have
  the sections too. The section Look of each has a command that `make test-guide` runs (a block `sh local`).
- Every SQL statement of a panel names only tables and columns of schemas/clickhouse.
- The number of rules that are read equals that of promtool (the argument).
Failure: one line for each finding; exit code 1.
"""

import re
import sys

import sources
from grafana import dashboards

SECTIONS = ["Meaning", "Impact", "Look", "Fix", "Verify"]
# Tables of the server, and the columns of them that panels use.
SYSTEM = {
    "system.parts": {"table", "rows", "bytes_on_disk", "active", "database"},
    "system.disks": {"name", "free_space", "total_space"},
}
SQL_WORDS = set(
    "select distinct from where and or not as in is null group by order limit desc asc inner join using on interval day hour case when then else end having".split()
)


def expressions():
    """Where an expression stands → the expression, of all rules and panels."""
    for file in ("recording_rules.yml", "alert_rules.yml"):
        for rule in sources.rules(file):
            yield f"{file}: {rule['name']}", rule["expr"]
    for board in dashboards.BOARDS:
        for panel in board.panels:
            for expr, _ in panel.queries:
                yield f"{board.title}: {panel.title}", expr
        for variable in board.variables:
            if isinstance(variable["query"], dict):
                yield f"{board.title}: variable {variable['name']}", re.sub(
                    r"label_values\((.*), \w+\)", r"\1", variable["query"]["query"]
                )


def check_expressions():
    known, used = sources.series(), set()
    for place, expr in expressions():
        if "vector(" in expr:
            yield f"{place}: vector() hides missing data"
        reachable = sources.TARGET_LABELS | {"le"} | set(re.findall(r'"(\w+)", "\$1"', expr))
        for name, labels in sources.selectors(expr).items():
            used.add(name)
            if name not in known:
                yield f"{place}: unknown series {name}"
                continue
            reachable |= known[name]
            for label in labels - known[name] - sources.TARGET_LABELS:
                yield f"{place}: {name} has no label {label}"
        for label in sources.grouping_labels(expr) - reachable:
            yield f"{place}: no series has label {label}"
    for name in sources.exporter_metrics().keys() - used:
        yield f"exporter_metrics.toml: nothing uses {name}"


def check_alerts():
    alerts = sources.rules("alert_rules.yml")
    names, pages = {a["name"] for a in alerts}, sources.runbooks()
    tests = set(re.findall(r'^name = "(\w+)"', (sources.HERE / "tests/cases.toml").read_text(), re.M))
    for alert in alerts:
        name = alert["name"]
        if alert["labels"].get("severity") not in ("critical", "warning", "info"):
            yield f"{name}: no severity"
        if not alert["summary"]:
            yield f"{name}: no summary"
        if alert.get("runbook_url") != f"docs/runbooks/{name}.md" or name not in pages:
            yield f"{name}: no runbook docs/runbooks/{name}.md"
    for name in names ^ tests:
        yield f"{name}: in only one of alert_rules.yml and tests/cases.toml"
    for name, page in pages.items():
        text = page.read_text()
        if name not in names:
            yield f"{page.name}: no alert of this name"
        if re.findall(r"^## (.+)", text, re.M) != SECTIONS or not text.startswith(f"# {name}\n"):
            yield f"{page.name}: its headings are not {name}, {', '.join(SECTIONS)}"
    # The template of a post-mortem is not for an incident that goes on.
    during = [page for page in sources.incidents() if page.stem != "incident-post-mortem"]
    for page in during:
        if re.findall(r"^## (.+)", page.read_text(), re.M) != SECTIONS:
            yield f"{page.name}: its headings are not {', '.join(SECTIONS)}"
    for page in [*pages.values(), *during]:
        if "\n```sh local\n" not in page.read_text().partition("\n## Look\n")[2].partition("\n## ")[0]:
            yield f"{page.name}: Look has no block `sh local`, so no test runs its commands"
    for page in [*pages.values(), *sources.incidents()]:
        for link in re.findall(r"\]\(([^)#]+)", page.read_text()):
            if not (page.parent / link).exists():
                yield f"{page.name}: broken link {link}"
    for board in dashboards.BOARDS:
        for alert in {a for panel in board.panels for a in panel.alerts} - names:
            yield f"{board.title}: a panel links to {alert}, which is no alert"


def check_sql():
    tables = sources.tables() | SYSTEM
    for board in dashboards.BOARDS:
        statements = [(panel.title, panel.sql) for panel in board.panels if panel.sql]
        statements += [
            (f"variable {v['name']}", v["query"]) for v in board.variables if isinstance(v["query"], str) and v["type"] == "query"
        ]
        for title, sql in statements:
            plain = re.sub(r"'[^']*'|\$\{[^}]*\}|\$__\w+", " ", sql)
            named = set(re.findall(r"\b(?:FROM|JOIN) ([a-z_][\w.]*)", plain))
            columns = {column for table in named if table in tables for column in tables[table]}
            for table in named - tables.keys():
                yield f"{board.title}: {title}: no table {table} in schemas/clickhouse"
            aliases = set(re.findall(r"\bAS (\w+)", plain))
            words = re.findall(r"(?<![\w.])([a-zA-Z_][\w.]*)(?!\s*\()(?![\w.])", plain)
            for word in set(words) - columns - aliases - named:
                if word.lower() not in SQL_WORDS:
                    yield f"{board.title}: {title}: no column {word} in {', '.join(sorted(named))}"


def main():
    findings = [*check_expressions(), *check_alerts(), *check_sql()]
    count = sum(len(sources.rules(file)) for file in ("recording_rules.yml", "alert_rules.yml"))
    if len(sys.argv) > 1 and int(sys.argv[1]) != count:
        findings.append(f"{count} rules were read, promtool finds {sys.argv[1]}")
    for finding in findings:
        print(finding, file=sys.stderr)
    if findings:
        sys.exit(1)
    panels = sum(len(board.panels) for board in dashboards.BOARDS)
    print(f"{count} rules, {len(sources.runbooks())} runbooks, {len(dashboards.BOARDS)} dashboards with {panels} panels")


if __name__ == "__main__":
    main()
