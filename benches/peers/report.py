"""The results of a run as two tables: costs of the undisturbed runs, and what the runs with kills lost and repeated."""

STORES = ("kafka", "clickhouse", "postgres", "redis")
Counts = dict[str, int]


def shown(results: dict) -> str:
    """Both tables, as far as there are results."""
    runs = {name: result for name, result in results.items() if "counted" in result}
    costs = [cost(name, run) for name, run in runs.items() if "cpu_us" in run]
    losses = [line for name, run in runs.items() for line in loss(name, run)]
    lines = [f"{'':<36}{'CPU µs a message':^42}"]
    head = ("messages/s", "seconds", "own", "2nd half", "Kafka", "ClickHouse")
    lines += [f"{'side':<14}{row(head)}", *costs, ""]
    lines += [f"{'side':<38}{'kills':>6}{'lost':>10}{'repeated':>10}{'wrong bars':>12}", *losses]
    return "\n".join(lines)


def cost(name: str, run: dict) -> str:
    whole, half = run["cpu_us"], run["cpu_us_second_half"]
    own = [sum(cpu for process, cpu in used.items() if process not in STORES) for used in (whole, half)]
    # Rows appear with their insert, seconds after the work on them, so a half of them says nothing.
    second = "" if "table" in name else f"{own[1]:.2f}"
    servers = [f"{whole.get(server, 0.0):.2f}" for server in ("kafka", "clickhouse")]
    rate, seconds = f"{run['per_second']:,}", str(run.get("seconds", ""))
    return f"{name.removesuffix(', clean'):<14}{row((rate, seconds, f'{own[0]:.2f}', second, *servers))}"


def row(cells: tuple[str, ...]) -> str:
    return "".join(f"{cell:>{width}}" for cell, width in zip(cells, (12, 9, 9, 10, 9, 12), strict=True))


def loss(name: str, run: dict) -> list[str]:
    counted = run["counted"]
    parts: dict[str, Counts] = {name: counted} if "lost" in counted else {f"{name}: {of}": counted[of] for of in counted}
    return [
        f"{part:<38}{run.get('kills', 0):>6}{counts['lost']:>10,}{counts['repeated']:>10,}{counts.get('wrong_bars', 0):>12,}"
        for part, counts in parts.items()
    ]
