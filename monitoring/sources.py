"""Reads the sources of the monitoring files: rules, docs/metrics.md, exporter metrics, table definitions, runbooks.

The rule files are read without a YAML library. They keep to a small form, and `promtool` checks that they are valid:
check.py compares its number of rules with the number read here, so a rule in another form is noticed.
"""

import pathlib
import re
import tomllib

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
SERVICES = ["normalization", "enrichment", "aggregation", "projection"]
# Labels of the target, which Prometheus adds to each sample.
TARGET_LABELS = {"job", "instance", "service"}


def rules(file):
    """Rules of a file in order: kind, name, group, expr, for, labels, summary, runbook."""
    found, group, key, block = [], None, None, None
    for line in (HERE / file).read_text().splitlines():
        text = line.strip()
        indent = len(line) - len(line.lstrip())
        if block is not None and (not text or indent > block):
            found[-1][key] += " " + text
            continue
        block = None
        if not text or text.startswith("#"):
            continue
        if match := re.match(r"- name: (.+)", text):
            group = match[1]
        elif match := re.match(r"- (alert|record): (.+)", text):
            found.append({"kind": match[1], "name": match[2], "group": group, "expr": "", "for": "0m", "labels": {}})
        elif match := re.match(r"labels: \{(.+)\}", text):
            found[-1]["labels"] = dict(pair.split(": ") for pair in match[1].split(", "))
        elif match := re.match(r"(expr|for|summary|runbook_url): (.+)", text):
            key = match[1]
            if match[2] in ("|", ">-"):
                found[-1][key], block = "", indent
            else:
                found[-1][key] = match[2].strip('"')
    for rule in found:
        rule["expr"] = " ".join(rule["expr"].split())
        rule["summary"] = " ".join(rule.get("summary", "").split())
    return found


def documented_metrics():
    """Metrics of docs/metrics.md: name → kind, labels, meaning."""
    metrics = {}
    for line in (ROOT / "docs/metrics.md").read_text().splitlines():
        if match := re.match(r"\| `(\w+)` \| (\w+) \| [^|]* \| ([^|]*) \| (.+) \|", line):
            metrics[match[1]] = {"kind": match[2], "labels": set(re.findall(r"`(\w+)`", match[3])), "meaning": match[4]}
    return metrics


def exporter_metrics():
    """Metrics of exporters that rules and panels may use: name → exporter, kind, labels, reason."""
    with open(HERE / "exporter_metrics.toml", "rb") as file:
        exporters = tomllib.load(file)
    metrics = {}
    for exporter, names in exporters.items():
        for name, entry in names.items():
            metrics[name] = {
                "exporter": exporter,
                "kind": entry["kind"],
                "labels": set(entry["labels"]),
                "reason": entry["reason"],
            }
    return metrics


def series():
    """Every series that a query may name: name → labels. Histograms have three series."""
    known = {"up": set(), "ALERTS": {"alertname", "alertstate", "severity"}}
    for name, metric in (documented_metrics() | exporter_metrics()).items():
        if metric["kind"] == "histogram":
            known[f"{name}_bucket"] = metric["labels"] | {"le"}
            known[f"{name}_sum"] = known[f"{name}_count"] = metric["labels"]
        else:
            known[name] = metric["labels"]
    for rule in rules("recording_rules.yml"):
        known[rule["name"]] = output_labels(rule["expr"], known)
    return known


def output_labels(expr, known):
    """Labels that the result of an expression may have."""
    kept = set(re.findall(r'label_replace\(.*"(\w+)", "\$1"', expr))
    groups = re.findall(r"\bby \(([^)]*)\)", expr)
    if groups:
        return kept | {label.strip() for group in groups for label in group.split(",")} - {"le"}
    return kept | {label for name in selectors(expr) for label in known.get(name, set())}


KEYWORDS = {"and", "or", "unless", "bool", "by", "without", "on", "ignoring", "group_left", "group_right", "offset", "inf", "nan"}


def selectors(expr):
    """Names of the series in an expression, each with the labels of its matchers."""
    plain = re.sub(r'"(?:[^"\\]|\\.)*"', '""', expr)
    found = {}
    for match in re.finditer(r"\{([^}]*)\}", plain):
        name = re.search(r"([a-zA-Z_:][\w:]*)$", plain[: match.start()])
        if name:
            found.setdefault(name[1], set()).update(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", match[1]))
    plain = re.sub(r"\{[^}]*\}|\[[^\]]*\]", " ", plain)
    plain = re.sub(r"\b(by|without|on|ignoring|group_left|group_right) ?\([^)]*\)", " ", plain)
    for match in re.finditer(r"(?<![\w:.$])([a-zA-Z_:][\w:]*)\s*(\(?)", plain):
        if not match[2] and match[1].lower() not in KEYWORDS:
            found.setdefault(match[1], set())
    return found


def grouping_labels(expr):
    """Labels that an expression groups or joins by."""
    lists = re.findall(r"\b(?:by|without|on|ignoring|group_left|group_right) ?\(([^)]*)\)", expr)
    return {label.strip() for text in lists for label in text.split(",") if label.strip()}


def tables():
    """Tables and views of schemas/clickhouse: name → columns."""
    found = {}
    for path in sorted((ROOT / "schemas/clickhouse").glob("*.sql")):
        text = re.sub(r"--[^\n]*", "", path.read_text())
        for match in re.finditer(r"CREATE TABLE IF NOT EXISTS \{db\}\.(\w+?)(?:\{suffix\})?\s*\((.*?)\n\)", text, re.S):
            found[match[1]] = set(re.findall(r"^    (\w+) +[A-Z]", match[2], re.M)) - {"PROJECTION"}
        for match in re.finditer(
            r"CREATE VIEW IF NOT EXISTS \{db\}\.(\w+?)(?:\{suffix\})? AS SELECT \* FROM \{db\}\.(\w+?)(?:\{suffix\})? ", text
        ):
            found[match[1]] = found[match[2]]
    return found


def runbooks():
    """Alert name → path of its page. Pages of incidents, which no single alert leads to, have names in lower case."""
    return {path.stem: path for path in sorted((ROOT / "docs/runbooks").glob("[A-Z]*.md"))}


def incidents():
    """The runbooks of incidents and the template of a post-mortem."""
    return sorted((ROOT / "docs/runbooks").glob("[a-z]*.md"))
