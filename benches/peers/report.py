"""The results of a run as two tables: costs of the undisturbed runs, and what the runs with kills lost and repeated."""

STORES = ("kafka", "clickhouse", "postgres", "redis")
Counts = dict[str, int]


def shown(results: dict) -> str:
    """Both tables, as far as there are results."""
    runs = {name: result for name, result in results.items() if "counted" in result}
    costs = [cost(name, run) for name, run in runs.items() if "cpu_us" in run]
    losses = [line for name, run in runs.items() for line in loss(name, run)]
    lines = [f"{'':<36}{'CPU µs a message':^42}"]
    lines += [f"{'side':<24}{'messages/s':>12}{'own':>10}{'2nd half':>10}{'Kafka':>10}{'ClickHouse':>12}", *costs, ""]
    lines += [f"{'side':<38}{'kills':>6}{'lost':>10}{'repeated':>10}{'wrong bars':>12}", *losses]
    return "\n".join(lines)


def cost(name: str, run: dict) -> str:
    whole, half = run["cpu_us"], run["cpu_us_second_half"]
    own = [sum(cpu for process, cpu in used.items() if process not in STORES) for used in (whole, half)]
    kafka, clickhouse = whole.get("kafka", 0.0), whole.get("clickhouse", 0.0)
    return f"{name:<24}{run['per_second']:>12,}{own[0]:>10.2f}{own[1]:>10.2f}{kafka:>10.2f}{clickhouse:>12.2f}"


def loss(name: str, run: dict) -> list[str]:
    counted = run["counted"]
    parts: dict[str, Counts] = {name: counted} if "lost" in counted else {f"{name}: {of}": counted[of] for of in counted}
    return [
        f"{part:<38}{run.get('kills', 0):>6}{counts['lost']:>10,}{counts['repeated']:>10,}{counts.get('wrong_bars', 0):>12,}"
        for part, counts in parts.items()
    ]
