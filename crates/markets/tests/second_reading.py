#!/usr/bin/env python3
"""Reads market documents a second time, without any code of the project: csv, json, decimal and zoneinfo of Python.

second_reading.py FILE…    one line for each price, sorted: instrument, beginning (seconds since 1970), length in seconds, price, energy,
                           congestion, loss, greenhouse gas, version; `-` for what the document does not have; `part` at the end for a
                           page of PJM that is not the only one

Role: the test parsers/second_reading.rs compares these lines with the ticks of the parsers. The rules are those of docs/markets.md.
Failure: a document that it does not know, or a cell that it cannot read, ends it with a traceback; nothing is left out.
"""

import csv
import io
import json
import pathlib
import re
import sys
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from zoneinfo import ZoneInfo

EASTERN, CENTRAL, EST = ZoneInfo("America/New_York"), ZoneInfo("America/Chicago"), timezone(timedelta(hours=-5))
FORMS = ["%m/%d/%Y %H:%M:%S", "%m/%d/%Y %H:%M", "%m/%d/%Y %I:%M:%S %p", "%m/%d/%Y", "%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]


def when(text):
    """A time as its clock shows it."""
    for form in FORMS:
        try:
            return datetime.strptime(text.strip(), form)
        except ValueError:
            pass
    raise ValueError(f"no time: {text}")


def instant(wall, zone, second_pass=False):
    """Seconds since 1970 of a time of a clock. A time that does not exist has another time of day once it is converted back."""
    local = wall.replace(tzinfo=zone, fold=int(second_pass))
    if local.astimezone(timezone.utc).astimezone(zone).replace(tzinfo=None) != wall:
        raise ValueError(f"{wall} does not exist")
    return int(local.timestamp())


def is_repeated(wall, zone):
    return instant(wall, zone) != instant(wall, zone, True)


def number(text):
    return Decimal(str(text).strip())


def component(text):
    """A component; None if the document says that there is none."""
    is_nothing = text is None or str(text).strip().lower() in ("", "none", "null", "n/a", "na", "nan", "-")
    return None if is_nothing else number(text)


def rest(price, loss, congestion):
    """The energy of a price, if it has the other components."""
    return None if loss is None or congestion is None else price - loss - congestion


def shown(value):
    if value is None:
        return "-"
    return "0" if value == 0 else format(value.normalize(), "f")


def line(market, key, product, start, seconds, prices, version=None):
    """`prices`: price, energy, congestion, loss, greenhouse gas, as far as the document has them."""
    node = "".join(chr(b) if chr(b).isalnum() and b < 128 or chr(b) in "._-" else f"%{b:02X}" for b in key.encode())
    prices = list(prices) + [None] * (5 - len(prices))
    return " ".join([f"{market}.{node}.{product}", str(start), str(seconds), *map(shown, prices), version or "-"])


def table(text):
    """Rows of a CSV by the names of its columns, without case and punctuation."""
    rows = list(csv.reader(io.StringIO(text)))
    names = [re.sub(r"[^a-z0-9]", "", name.lower()) for name in rows[0]]
    return [dict(zip(names, (cell.strip() for cell in row), strict=True)) for row in rows[1:] if row]


def miso_prices(price, loss, congestion):
    price, loss, congestion = number(price), component(loss), component(congestion)
    return price, rest(price, loss, congestion), congestion, loss


def miso_five_minutes(text):
    document = json.loads(text)
    for row in document["data"]:
        row = dict(zip(document["headers"], row, strict=True))
        start = instant(when(row["INTERVAL"]), EST) - 300
        yield line("MISO", row["CPNODE"], "RT5", start, 300, miso_prices(row["LMP"], row["MLC"], row["MCC"]))


def miso_exante(text):
    data = json.loads(text)["LMPData"]
    day, clock = re.fullmatch(r"(.+) - Interval (.+) EST", data["RefId"]).groups()
    start = instant(datetime.strptime(f"{day} {clock}", "%d-%b-%Y %H:%M"), EST) - 300
    for hub in data["ExAnteLMP"]["Hub"]:
        yield line("MISO", hub["name"], "EXANTE", start, 300, miso_prices(hub["LMP"], hub["loss"], hub["congestion"]))


def miso_hours(text):
    lines = text.splitlines()
    header = next(number for number, one in enumerate(lines) if one.startswith("Node,Type,Value"))
    day = next(when(one.strip(",")) for one in lines[:header] if re.fullmatch(r"\d+/\d+/\d{4},*", one))
    title = " ".join(lines[:header])
    vintage = next((word.lower() for word in ("Preliminary", "Final") if word in title), None)
    product, version = ("RTH", vintage) if "Real" in title else ("DA", None)
    nodes = {}
    for node, kind, value, *hours in csv.reader(lines[header + 1 :]):
        nodes.setdefault((node, kind), {})[value] = hours
    for (node, _), values in nodes.items():
        for hour in range(24):
            if set(values) == {"LMP", "MLC", "MCC"}:
                prices = miso_prices(values["LMP"][hour], values["MLC"][hour], values["MCC"][hour])
            else:
                prices = [component(values[name][hour]) if name in values else None for name in ("LMP", "MEC", "MCC", "MLC")]
            yield line("MISO", node, product, instant(day, EST) + hour * 3600, 3600, prices, version)


def caiso(text):
    prices = {}
    for row in table(text):
        names = ("intervalstarttimegmt", "intervalendtimegmt")
        start, end = (instant(when(row[name].removesuffix("-00:00")), timezone.utc) for name in names)
        product, column = {"DAM": ("DA", "mw"), "RTPD": ("RT15", "prc"), "RTM": ("RT5", "value")}[row["marketrunid"]]
        one = prices.setdefault((row["nodeid"], product, start, end - start), {})
        assert row["lmptype"] not in one
        one[row["lmptype"]] = component(row[column])
    for (node, product, start, seconds), one in prices.items():
        yield line("CAISO", node, product, start, seconds, [one.get(name) for name in ("LMP", "MCE", "MCC", "MCL", "MGHG")])


def ercot_runs(text):
    for row in table(text):
        start = instant(when(row["scedtimestamp"]), CENTRAL, row["repeatedhourflag"] == "Y")
        yield line("ERCOT", row["settlementpoint"], "RT5", start, 300, [number(row["lmp"])])


def ercot_buses(text):
    for row in table(text):
        start = instant(when(row["scedtimestamp"]), CENTRAL, row["repeatedhourflag"] == "Y")
        yield line("ERCOT", row["electricalbus"] + ".BUS", "RT5", start, 300, [number(row["cappedlmp"])])


def ercot_quarters(text):
    for row in table(text):
        kind = row["settlementpointtype"]
        key = row["settlementpointname"] + (f".{kind}" if kind.endswith("EW") else "")
        minutes = 60 * (int(row["deliveryhour"]) - 1) + 15 * (int(row["deliveryinterval"]) - 1)
        start = instant(when(row["deliverydate"]) + timedelta(minutes=minutes), CENTRAL, row["dstflag"] == "Y")
        yield line("ERCOT", key, "RT15", start, 900, [number(row["settlementpointprice"])])


def ercot_day_ahead(text):
    for row in table(text):
        hour = timedelta(hours=int(row["hourending"].split(":")[0]) - 1)
        start = instant(when(row["deliverydate"]) + hour, CENTRAL, row["dstflag"] == "Y")
        yield line("ERCOT", row["settlementpoint"], "DA", start, 3600, [number(row["settlementpointprice"])])


def ercot_day_ahead_page(text):
    document = json.loads(text, parse_float=Decimal)
    names = [field["name"] for field in document["fields"]]
    for row in document["data"]:
        row = dict(zip(names, row, strict=True))
        hour = timedelta(hours=int(row["hourEnding"].split(":")[0]) - 1)
        start = instant(when(row["deliveryDate"]) + hour, CENTRAL, row["DSTFlag"])
        yield line("ERCOT", row["settlementPoint"], "DA", start, 3600, [number(row["settlementPointPrice"])])


def pjm_rows(text):
    """The rows of a CSV or of a page of the API, and whether there are other pages."""
    if not text.lstrip().startswith(("{", "[")):
        return table(text), False
    page = json.loads(text, parse_float=Decimal)
    page = {"items": page} if isinstance(page, list) else page
    rows = [{name.replace("_", ""): "" if value is None else str(value) for name, value in row.items()} for row in page["items"]]
    leads_on = any(link["rel"] == "next" for link in page.get("links", []))
    return rows, leads_on or page.get("totalRows", len(rows)) != len(rows)


def pjm(product, seconds, suffix):
    def read(text):
        rows, is_part = pjm_rows(text)
        for row in rows:
            start = instant(when(row["datetimebeginningutc"]), timezone.utc)
            local = datetime.fromtimestamp(start, EASTERN).replace(tzinfo=None)
            assert local == when(row["datetimebeginningept"])
            is_named = row["type"] in ("HUB", "ZONE", "INTERFACE")
            key = row["pnodename"] if is_named else f"{row['pnodename']}.{row['pnodeid']}"
            price = number(row["totallmp" + suffix])
            congestion, loss = (component(row[name + suffix]) for name in ("congestionprice", "marginallossprice"))
            energy = row.get("systemenergyprice" + suffix)
            energy = rest(price, loss, congestion) if energy is None else component(energy)
            version = f"verified.{row['versionnbr']}" if "versionnbr" in row else "unverified"
            version += "" if row.get("rowiscurrent", "True") == "True" else ".superseded"
            yield line("PJM", key, product, start, seconds, [price, energy, congestion, loss], version) + " part" * is_part

    return read


def nyiso(product):
    def read(text):
        rows = table(text)
        stamps = {}
        for place, row in enumerate(rows):
            stamps.setdefault(row["name"], []).append((place, when(row["timestamp"])))
        starts = {}
        for of_name in stamps.values():
            walls = [wall for _, wall in of_name]
            # The place of the backward step tells the passes apart. A five-minute stamp is an end: 01:00 of the first pass comes before it.
            back = next((at for at in range(1, len(walls)) if walls[at] <= walls[at - 1]), len(walls))
            before = None
            for at, (place, wall) in enumerate(of_name):
                second = at >= back and is_repeated(wall, EASTERN)
                assert not is_repeated(wall, EASTERN) or back < len(walls)
                end = instant(wall, EASTERN, second)
                if product == "RT5":
                    grid = (end - 1) // 300 * 300
                    starts[place] = (grid if before is None else max(grid, before), end)
                    before = end
                else:
                    starts[place] = (end, end + 3600)
        for place, row in enumerate(rows):
            names = ("lbmpmwhr", "marginalcostlossesmwhr", "marginalcostcongestionmwhr")
            (price, loss, published), (start, end) = (component(row[name]) for name in names), starts[place]
            congestion = None if published is None else -published
            yield line("NYISO", row["name"], product, start, end - start, [price, rest(price, loss, congestion), congestion, loss])

    return read


def isone(product, version):
    def read(text):
        for row in csv.reader(io.StringIO(text)):
            if row[0] != "D":
                continue
            _, day, hour, _, name, _, *prices = row
            begin = when(day) + timedelta(hours=int(hour.rstrip("X")) - 1)
            start, prices = instant(begin, EASTERN, hour.endswith("X")), [component(price) for price in prices]
            yield line("ISONE", name, product, start, 3600, prices, version)

    return read


def isone_service(text):
    for one in json.loads(text, parse_float=Decimal)["HourlyLmps"]["HourlyLmp"]:
        start = int(datetime.fromisoformat(one["BeginDate"]).timestamp())
        prices = [number(one[name]) for name in ("LmpTotal", "EnergyComponent", "CongestionComponent", "LossComponent")]
        yield line("ISONE", one["Location"]["$"], "DA", start, 3600, prices)


def isone_workbook(text):
    for row in table(text):
        begin = when(row["date"]) + timedelta(hours=int(row["hrend"].rstrip("X")) - 1)
        start = instant(begin, EASTERN, row["hrend"].endswith("X"))
        for product, of in (("DA", "da"), ("RTH", "rt")):
            prices = [number(row[of + name]) for name in ("lmp", "ec", "cc", "mlc")]
            yield line("ISONE", row["location"], product, start, 3600, prices)


def spp(text):
    for row in table(text):
        end = instant(when(row["gmtintervalend"]), timezone.utc)
        # The end as an hour after the beginning, so 02:00 comes twice in autumn.
        assert datetime.fromtimestamp(end - 3600, CENTRAL).replace(tzinfo=None) + timedelta(hours=1) == when(row["interval"])
        area = row.get("baa", "SPP")
        key = row["settlementlocation"] + ("" if area == "SPP" else f".{area}")
        yield line("SPP", key, "DA", end - 3600, 3600, [number(row[name]) for name in ("lmp", "mec", "mcc", "mlc")])


def gas(text):
    for row in table(text):
        begin = when(row["date"]) + timedelta(hours=9)
        start, end = instant(begin, CENTRAL), instant(begin + timedelta(days=1), CENTRAL)
        yield line("GAS", "HENRY_HUB", "SPOT", start, end - start, [number(row["price"])])


# Weekdays near the expiries of the documents on which the exchange is closed.
CLOSED = {date(2024, 3, 29), date(2025, 11, 27)}
# A hub has its name of docs/markets.md.
HUBS = {"WESTERN_HUB": "WESTERN HUB"}


def month(day, ahead):
    """The first day of the month so many months later."""
    number = day.year * 12 + day.month - 1 + ahead
    return date(number // 12, number % 12 + 1, 1)


def prompt(day, is_gas):
    """The first month whose last trading day is not over: three business days before it, one for power."""
    last, left = month(day, 1), 3 if is_gas else 1
    while left:
        last -= timedelta(days=1)
        left -= last.weekday() < 5 and last not in CLOSED
    return month(day, 1 if day <= last else 2)


def contract(day, quoted, is_gas):
    if quoted == "BALMO":
        return f"BALMO-{day:%Y-%m}"
    if re.fullmatch(r"M\d", quoted):
        return f"{month(prompt(day, is_gas), int(quoted[1]) - 1):%Y-%m}"
    if re.fullmatch(r"[FGHJKMNQUVXZ]\d\d", quoted):
        return f"20{quoted[1:]}-{'FGHJKMNQUVXZ'.index(quoted[0]) + 1:02}"
    return quoted


def settlement(day, curve, quoted, block, price):
    market, hub = curve.split(".", 1)
    zone = CENTRAL if market == "GAS" else EASTERN
    key = ".".join([HUBS.get(hub, hub), contract(day.date(), quoted, market == "GAS"), block.upper()])
    start, end = instant(day, zone), instant(day + timedelta(days=1), zone)
    return line(market, key, "SETTLEMENT", start, end - start, [number(price)])


def settlements(text):
    for row in table(text):
        yield settlement(when(row["asof"]), row["curveid"], row["contract"], row["block"], row["price"])


def gas_futures(text):
    for row in json.loads(text)["response"]["data"]:
        nearby = "M" + row["series"].removeprefix("RNGC")
        yield settlement(when(row["period"]), "GAS.HENRY_HUB", nearby, "flat", row["value"])


# The first pattern that is in the path.
READERS = [
    ("miso/GetRealTimeFiveMinExPost", miso_five_minutes),
    ("miso/GetExAnteLmp", miso_exante),
    ("_da_expost_lmp", miso_hours),
    ("_rt_lmp", miso_hours),
    ("PRC_", caiso),
    ("np6-787", ercot_buses),
    ("np6-788", ercot_runs),
    ("np6-905", ercot_quarters),
    ("np4-190", ercot_day_ahead_page),
    ("DAMSPNP4190", ercot_day_ahead),
    ("da_hrl_lmps", pjm("DA", 3600, "da")),
    ("rt_hrl_lmps", pjm("RTH", 3600, "rt")),
    ("rt_fivemin_hrl_lmps", pjm("RT5", 300, "rt")),
    ("damlbmp", nyiso("DA")),
    ("rtlbmp", nyiso("RTH")),
    ("realtime_zone", nyiso("RT5")),
    ("WW_DALMP", isone("DA", None)),
    ("lmp_rt_final", isone("RTH", "final")),
    ("ws_hourlylmp", isone_service),
    ("smd_hourly", isone_workbook),
    ("DA-LMP-SL", spp),
    ("henry_hub_daily", gas),
    ("curve_settlements", settlements),
    ("eia_futures", gas_futures),
]


def main():
    lines = []
    for name in sys.argv[1:]:
        path = pathlib.Path(name)
        reader = next(reader for pattern, reader in READERS if pattern in path.as_posix())
        lines += reader(path.read_text(encoding="utf-8-sig"))
    print("\n".join(sorted(lines)))


if __name__ == "__main__":
    main()
