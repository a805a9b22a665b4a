#!/usr/bin/env python3
"""Runs every expression and every SQL statement of rules and panels against running servers.

live.py --prometheus URL [--clickhouse URL] [--database NAME] [--panel "BOARD: PANEL"] [--set VARIABLE=VALUE]
Prints what has no data; with --panel the data of that panel as JSON. Failure: one line for each that a server refuses; exit
code 1.
"""

import argparse
import base64
import json
import os
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

import check
from grafana import dashboards

HOURS = 6
INTERVAL_S = 60


def prometheus(url, expr):
    """Series with their labels and values, or an error."""
    for name, value in {"$__rate_interval": "1m", "$__range": "1h", "$instance": ".*", "$market": ".*"}.items():
        expr = expr.replace(name, value)
    data = urllib.parse.urlencode({"query": expr}).encode()
    try:
        with urllib.request.urlopen(f"{url}/api/v1/query", data, timeout=30) as answer:
            result = json.load(answer)["data"]["result"]
    except urllib.error.HTTPError as error:
        raise ValueError(json.load(error)["error"]) from None
    return [{**r["metric"], "value": float(r["value"][1])} for r in result if r["value"][1] != "NaN"]


def clickhouse(url, database, sql):
    """Rows, or an error. DATA_PROC_CLICKHOUSE_USER and _PASSWORD are the login."""
    settings = {"database": database, "default_format": "JSON", "output_format_json_quote_64bit_integers": 0}
    parameters = urllib.parse.urlencode(settings)
    user, password = os.environ.get("DATA_PROC_CLICKHOUSE_USER", "default"), os.environ.get("DATA_PROC_CLICKHOUSE_PASSWORD", "")
    login = base64.b64encode(f"{user}:{password}".encode()).decode()
    request = urllib.request.Request(f"{url}/?{parameters}", sql.encode(), {"Authorization": f"Basic {login}"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        raise ValueError(error.read().decode().strip()) from None


def expand(sql, values):
    """The macros of the ClickHouse plugin, and variables."""
    now = int(time.time())
    sql = re.sub(r"\$__timeFilter\((\w+)\)", rf"\1 >= toDateTime({now - HOURS * 3600}) AND \1 <= toDateTime({now})", sql)
    sql = re.sub(r"\$__timeInterval\((\w+)\)", rf"toStartOfInterval(toDateTime(\1), INTERVAL {INTERVAL_S} second)", sql)
    return re.sub(r"\$\{(\w+):sqlstring\}", lambda m: "'" + values[m[1]].replace("'", "''") + "'", sql)


def run_statements(url, database, chosen):
    """Place → rows or error, of every statement of every board. Variables take the chosen or their first value, as in Grafana."""
    for board in dashboards.BOARDS:
        values = {}
        for variable in board.variables:
            place = f"{board.title}: variable {variable['name']}"
            if variable["type"] == "custom":
                values[variable["name"]] = variable["current"]["value"]
            elif isinstance(variable["query"], str):
                try:
                    rows = clickhouse(url, database, expand(variable["query"], values))
                    values[variable["name"]] = next(iter(rows[0].values())) if rows else ""
                    yield place, rows
                except ValueError as error:
                    yield place, error
            if variable["name"] in chosen:
                values[variable["name"]] = chosen[variable["name"]]
        for panel in board.panels:
            if panel.sql:
                try:
                    yield f"{board.title}: {panel.title}", clickhouse(url, database, expand(panel.sql, values))
                except ValueError as error:
                    yield f"{board.title}: {panel.title}", error


def run_expressions(url):
    for place, expr in check.expressions():
        try:
            yield place, prometheus(url, expr)
        except ValueError as error:
            yield place, error


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prometheus", required=True, metavar="URL")
    parser.add_argument("--clickhouse", metavar="URL", help="without it, SQL is left out")
    parser.add_argument("--database", default="market_data", metavar="NAME")
    parser.add_argument("--panel", metavar="BOARD: PANEL", help="print the data of this panel")
    parser.add_argument("--set", default=[], action="append", metavar="VARIABLE=VALUE", help="a variable of the panels in SQL")
    arguments = parser.parse_args()
    chosen = dict(pair.split("=", 1) for pair in arguments.set)
    results = list(run_expressions(arguments.prometheus))
    if arguments.clickhouse:
        results += run_statements(arguments.clickhouse, arguments.database, chosen)
    refused = [(place, result) for place, result in results if isinstance(result, ValueError)]
    # An alert without data is an alert that does not fire.
    empty = [place for place, result in results if result == [] and not place.startswith("alert_rules.yml")]
    for place, error in refused:
        print(f"refused: {place}: {error}", file=sys.stderr)
    if arguments.panel:
        print(json.dumps([row for place, rows in results if place == arguments.panel and isinstance(rows, list) for row in rows]))
    else:
        for place in empty:
            print(f"no data: {place}")
        print(f"{len(results)} run, {len(refused)} refused, {len(empty)} without data")
    sys.exit(1 if refused else 0)


if __name__ == "__main__":
    main()
