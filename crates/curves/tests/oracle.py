"""Curves by other means: reads cases as JSON from standard input and writes the prices of each.

Hours are counted with zoneinfo, the smoothest curve is a quadratic program solved by scipy in the null space of its constraints and
checked by scipy's trust-region solver, and the monotone one uses scipy's PCHIP slopes. It shares no code with the crate.
"""

import json
import sys
from datetime import date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import numpy as np
from scipy.interpolate import CubicHermiteSpline, PchipInterpolator
from scipy.linalg import lstsq, null_space
from scipy.optimize import LinearConstraint, minimize

MONTH_DAYS = 30.4375
LEVELLING = 1e-6


def months(first, count):
    year, month = map(int, first.split("-"))
    for _ in range(count):
        end = date(year + month // 12, month % 12 + 1, 1)
        yield date(year, month, 1), end
        year, month = end.year, end.month


def hours(first, end, zone):
    def utc(day):
        return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).astimezone(timezone.utc)

    return (utc(end) - utc(first)) / timedelta(hours=1)


def roughness(middles):
    rows = []
    for left, middle, right in zip(middles, middles[1:], middles[2:]):
        span = (right - left) / 2
        slope = {left: 1 / (middle - left), middle: -1 / (middle - left) - 1 / (right - middle), right: 1 / (right - middle)}
        rows.append([np.sqrt(1 / span) * slope.get(time, 0.0) for time in middles])
    for left, right in zip(middles, middles[1:]):
        scale = np.sqrt(LEVELLING / (right - left))
        rows.append([scale * {left: -1.0, right: 1.0}.get(time, 0.0) for time in middles])
    return np.array(rows)


def smooth(means, prices, middles):
    rough = roughness(middles)
    some = lstsq(means, prices)[0]
    free = null_space(means)
    if free.shape[1] == 0:
        return some
    best = some - free @ lstsq(rough @ free, rough @ some)[0]
    # The general solver must not find anything smoother.
    found = minimize(
        lambda y: float(np.sum((rough @ y) ** 2)),
        some,
        jac=lambda y: 2 * rough.T @ (rough @ y),
        hess=lambda y: 2 * rough.T @ rough,
        constraints=[LinearConstraint(means, prices, prices)],
        method="trust-constr",
        options={"gtol": 1e-10, "xtol": 1e-12, "maxiter": 2000},
    ).x
    assert np.max(np.abs(found - best)) < 1e-4 * max(1.0, np.max(np.abs(best))), np.max(np.abs(found - best))
    return best


def flat(means, prices, weights):
    # Least sum of weighted squares: the least-norm solution in scaled prices.
    root = np.sqrt(weights)
    return lstsq(means / root, prices)[0] / root


def strips(means):
    cover = [tuple(column > 0) for column in means.T]
    runs, start = [], 0
    for at in range(1, len(cover) + 1):
        if at == len(cover) or cover[at] != cover[start]:
            runs.append((start, at))
            start = at
    return runs


def corrected(levels, means, prices, weights):
    return levels + flat(means, prices - means @ levels, weights)


def monotone(means, prices, weights, starts, ends, middles):
    levels = flat(means, prices, weights)
    runs = strips(means)
    times = [(starts[first] + ends[end - 1]) / 2 for first, end in runs]
    values = [levels[first] for first, _ in runs]
    if len(runs) > 1:
        slopes = PchipInterpolator(times, values).derivative()(times) if len(runs) > 2 else np.zeros(2)
        slopes[0] = slopes[-1] = 0.0
        curve = CubicHermiteSpline(times, values, slopes)
        levels = curve(np.clip(middles, times[0], times[-1]))
    return corrected(levels, means, prices, weights)


def linear(means, prices, weights, starts, ends, middles):
    levels = flat(means, prices, weights)
    runs = strips(means)
    times = [(starts[first] + ends[end - 1]) / 2 for first, end in runs]
    levels = np.interp(middles, times, [levels[first] for first, _ in runs])
    return corrected(levels, means, prices, weights)


def solve(case):
    as_of = date.fromisoformat(case["as_of"])
    spans = list(months(case["first"], case["count"]))
    weights = np.array([hours(first, end, case["zone"]) for first, end in spans])
    starts = [(first - as_of).days / MONTH_DAYS for first, _ in spans]
    ends = [(end - as_of).days / MONTH_DAYS for _, end in spans]
    middles = [(start + end) / 2 for start, end in zip(starts, ends)]
    means = np.zeros((len(case["quotes"]), len(spans)))
    for row, (first, end, _) in zip(means, case["quotes"]):
        row[first:end] = weights[first:end] / weights[first:end].sum()
    prices = np.array([price for _, _, price in case["quotes"]])
    return {
        "flat": list(flat(means, prices, weights)),
        "linear": list(linear(means, prices, weights, starts, ends, middles)),
        "monotone": list(monotone(means, prices, weights, starts, ends, middles)),
        "smooth": list(smooth(means, prices, middles)),
    }


json.dump([solve(case) for case in json.load(sys.stdin)], sys.stdout)
