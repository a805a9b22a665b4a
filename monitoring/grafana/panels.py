"""Dashboards as data, and their JSON in Grafana's form.

A panel names its queries, its unit, its thresholds and the alerts that belong to it. Position, colours, data source and the links to
the runbooks follow. The runbooks are a dashboard themselves, so that a link needs no other server.
"""

from dataclasses import dataclass, field

PROMETHEUS = {"type": "prometheus", "uid": "prometheus"}
CLICKHOUSE = {"type": "grafana-clickhouse-datasource", "uid": "clickhouse"}
RUNBOOKS = "data-processing-runbooks"
COLUMNS = 24


@dataclass
class Panel:
    """One panel. `queries`: (expression, legend); `sql`: one statement of ClickHouse instead."""

    title: str
    about: str
    queries: list = field(default_factory=list)
    sql: str = ""
    kind: str = "timeseries"
    unit: str = "short"
    warn: float | None = None
    critical: float | None = None
    low_is_bad: bool = False
    alerts: list = field(default_factory=list)
    width: int = 8
    height: int = 8
    values: dict = field(default_factory=dict)
    stack: bool = False
    top: float | None = None


@dataclass
class Board:
    """One dashboard. `variables`: dictionaries in Grafana's form. `listed`: appears in docs/monitoring.md."""

    uid: str
    title: str
    about: str
    panels: list
    variables: list = field(default_factory=list)
    span: str = "now-1h"
    listed: bool = True


def variable(name, label, query, datasource, multi=False):
    """A variable filled by a query. `multi`: several values, all of them at first."""
    result = {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": datasource,
        "query": query,
        "refresh": 2,
        "multi": multi,
        "includeAll": multi,
        "sort": 0,
    }
    if datasource is PROMETHEUS:
        result |= {"query": {"query": query, "refId": name}, "definition": query}
    if multi:
        result |= {"allValue": ".*", "current": {"selected": True, "text": ["All"], "value": ["$__all"]}}
    return result


def choice(name, label, values):
    """A variable with fixed values; the first one is the default."""
    options = [{"text": value, "value": value, "selected": value == values[0]} for value in values]
    return {
        "name": name,
        "label": label,
        "type": "custom",
        "query": ",".join(values),
        "options": options,
        "current": options[0],
        "multi": False,
        "includeAll": False,
    }


def thresholds(panel):
    """Green up to `warn`, orange up to `critical`, red above it; the other way round if low values are bad."""
    colors, marks = ["green", "orange", "red"], [panel.warn, panel.critical]
    if panel.low_is_bad:
        colors, marks = ["red", "orange", "green"], [panel.critical, panel.warn]
        if panel.critical is None:
            colors, marks = ["orange", "green"], [panel.warn]
    values = [None] + marks
    return {
        "mode": "absolute",
        "steps": [{"color": c, "value": v} for n, (c, v) in enumerate(zip(colors, values)) if n == 0 or v is not None],
    }


def targets(panel):
    """The queries in the form of their data source."""
    if panel.sql:
        # One series for each text value; tables, candles and bars take the rows as they are.
        series = panel.kind in ("timeseries", "status-history")
        return [
            {
                "refId": "A",
                "datasource": CLICKHOUSE,
                "editorType": "sql",
                "rawSql": panel.sql,
                "queryType": "timeSeries" if series else "table",
                "format": 0 if series else 1,
            }
        ]
    instant = panel.kind in ("stat", "bargauge", "gauge", "table")
    return [
        {
            "refId": chr(ord("A") + n),
            "datasource": PROMETHEUS,
            "editorMode": "code",
            "expr": expr,
            "legendFormat": legend,
            "instant": instant,
            "range": not instant,
        }
        for n, (expr, legend) in enumerate(panel.queries)
    ]


def options(panel):
    """Options of the panel's kind."""
    reduce = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": bool(panel.sql)}}
    return {
        "timeseries": {
            "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"], "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "stat": reduce | {"colorMode": "background", "graphMode": "none", "textMode": "value_and_name", "justifyMode": "center"},
        "bargauge": reduce | {"displayMode": "basic", "orientation": "horizontal", "showUnfilled": True},
        "table": {"showHeader": True, "cellHeight": "sm"},
        "state-timeline": {
            "mergeValues": True,
            "showValue": "never",
            "rowHeight": 0.9,
            "legend": {"showLegend": True, "displayMode": "list", "placement": "bottom"},
        },
        "status-history": {
            "showValue": "never",
            "rowHeight": 0.9,
            "colWidth": 0.95,
            "legend": {"showLegend": True, "displayMode": "list", "placement": "bottom"},
        },
        "candlestick": {
            "mode": "candles+volume",
            "candleStyle": "candles",
            "colorStrategy": "open-close",
            "colors": {"up": "green", "down": "red"},
            "includeAllFields": False,
            "fields": {"open": "open", "high": "high", "low": "low", "close": "close", "volume": "volume"},
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        },
    }[panel.kind]


def panel_json(panel, number, x, y, pages):
    """A panel in Grafana's form. `pages`: alert name → number of its panel on the dashboard of runbooks."""
    defaults = {
        "unit": panel.unit,
        "thresholds": thresholds(panel),
        "min": 0 if panel.unit in ("percentunit", "s", "bytes", "ops") else None,
    }
    defaults = {name: value for name, value in defaults.items() if value is not None}
    if panel.top is not None:
        defaults["max"] = panel.top
    if panel.kind in ("timeseries", "candlestick"):
        marks = panel.warn is not None or panel.critical is not None
        defaults["color"] = {"mode": "palette-classic"}
        defaults["custom"] = {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 10 if panel.stack else 0,
            "showPoints": "auto",
            "thresholdsStyle": {"mode": "dashed" if marks else "off"},
            "stacking": {"mode": "normal" if panel.stack else "none", "group": "A"},
        }
    else:
        defaults["color"] = {"mode": "thresholds"}
    if panel.values:
        defaults["mappings"] = [
            {
                "type": "value",
                "options": {
                    str(key): {"text": text, "color": color, "index": n}
                    for n, (key, (text, color)) in enumerate(panel.values.items())
                },
            }
        ]
    result = {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "gridPos": {"x": x, "y": y, "w": panel.width, "h": panel.height},
        "datasource": CLICKHOUSE if panel.sql else PROMETHEUS,
        "targets": targets(panel),
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options(panel),
    }
    if panel.alerts:
        result["links"] = [
            {"title": f"Runbook: {a}", "url": f"/d/{RUNBOOKS}?viewPanel={pages[a]}", "targetBlank": True} for a in panel.alerts
        ]
    return result


def board_json(board, pages):
    """A dashboard in Grafana's form, without the wrapper of the HTTP API."""
    panels, x, y, tallest = [], 0, 0, 0
    for number, panel in enumerate(board.panels, 1):
        if x + panel.width > COLUMNS:
            x, y, tallest = 0, y + tallest, 0
        panels.append(panel_json(panel, number, x, y, pages))
        x, tallest = x + panel.width, max(tallest, panel.height)
    return shell(board, panels)


def runbook_json(board, texts):
    """The dashboard of runbooks: one text panel for each page."""
    panels = [
        {
            "id": number,
            "type": "text",
            "title": name,
            "gridPos": {"x": 0, "y": (number - 1) * 12, "w": COLUMNS, "h": 12},
            "options": {"mode": "markdown", "content": text},
        }
        for number, (name, text) in enumerate(texts.items(), 1)
    ]
    return shell(board, panels)


def shell(board, panels):
    """What every dashboard has besides its panels."""
    return {
        "id": None,
        "uid": board.uid,
        "title": board.title,
        "description": board.about,
        "tags": ["data-processing"],
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "timezone": "utc",
        "time": {"from": board.span, "to": "now"},
        "refresh": "30s",
        "templating": {"list": board.variables},
        "annotations": {"list": []},
        # A menu of all dashboards with the tag.
        "links": [
            {"title": "Data processing", "type": "dashboards", "tags": ["data-processing"], "asDropdown": True, "keepTime": True}
        ],
        "panels": panels,
    }
