#!/usr/bin/env python3
"""Rules for the compose files that compose itself does not have; arguments: `config --format json` of main and backup.

Failure: one line for each problem, exit code 1.
"""

import json
import re
import sys
import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STAGES = ("normalization", "enrichment", "aggregation", "projection")
FILES = ["docker-compose.yml", "docker-compose.backup.yml", "docker-compose.secure.yml", "deploy/service.yml"]
# Read by compose itself.
OF_COMPOSE = {"COMPOSE_PROJECT_NAME", "COMPOSE_IGNORE_ORPHANS"}


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def service_problems(name: str, service: dict) -> list[str]:
    problems = []
    options = service.get("logging", {}).get("options", {})
    if (options.get("max-size"), options.get("max-file")) != ("10m", "3"):
        problems.append("needs json-file logs of 10m x 3")
    if "container_name" in service:
        problems.append("container_name makes scaling impossible")
    if not service.get("mem_limit") or not service.get("cpus"):
        problems.append("needs mem_limit and cpus")
    if re.search(r":latest$|^[^:]+$", service["image"]):
        problems.append(f"image {service['image']} has no version")
    if service["image"].startswith("data-processing:"):
        if not service.get("read_only") or service.get("cap_drop") != ["ALL"]:
            problems.append("must be read_only and drop all capabilities")
    if re.search(r"-(service|standby)$", name):
        if service.get("stop_grace_period") != "40s" or "healthcheck" not in service:
            problems.append("needs a health check and stop_grace_period 40s")
        if int(service["mem_limit"]) != 2**30:
            problems.append("the alert ServiceMemoryHigh needs mem_limit 1g")
        if name.endswith("-service") and service.get("ports"):
            problems.append("a published port makes scaling impossible: publish it by the gateway")
    return [f"service {name}: {problem}" for problem in problems]


def port_problems(models: list[dict]) -> list[str]:
    owners: dict[str, str] = {}
    problems = []
    for model in models:
        for name, service in model["services"].items():
            for port in service.get("ports", []):
                other = owners.setdefault(port["published"], name)
                if other != name:
                    problems.append(f"host port {port['published']} belongs to {other} and {name}")
    return problems


def variable_problems() -> list[str]:
    offered = set(re.findall(r"^([A-Z_]+)=", read(".env.example"), re.MULTILINE)) - OF_COMPOSE
    text = "".join(read(file) for file in FILES)
    used = set(re.findall(r"\$\{([A-Z_]+)(?:[:}])", text)) - OF_COMPOSE
    optional = set(re.findall(r"\$\{([A-Z_]+):-", text))
    return [f".env.example sets {name}, which no compose file uses" for name in sorted(offered - used)] + [
        f"{name} is used by a compose file and missing in .env.example" for name in sorted(used - offered - optional)
    ]


def command_problems(services: set[str]) -> list[str]:
    """Commands of the deployment guide must name services that exist."""
    pattern = re.compile(
        r"docker-compose (?:-f \S+ |--profile \S+ )*"
        r"(?:exec (?:-T )?|restart |logs (?:-f |--no-log-prefix )*|stop |up -d (?:--scale )?)([a-z][a-z-]+(?: [a-z][a-z-]+)*)"
    )
    problems = []
    for match in pattern.finditer(read("docs/deployment.md")):
        names = match.group(1).split()
        names = names[:1] if " exec " in match.group(0) else names
        problems += [f"docs/deployment.md: no service {name}: {match.group(0)}" for name in names if name not in services]
    return problems


def address_problems(services: dict) -> list[str]:
    """A default address on localhost leads nowhere in a container, so the services must have another one."""
    rows = re.findall(r"^\| `(\w+)` .*?\|.*?\|.*?\| (.*?) \|", read("docs/configuration.md"), re.MULTILINE)
    needed = [name for name, default in rows if "localhost" in default]
    return [
        f"service {stage}-service: set {name}, whose default is an address on localhost"
        for stage in STAGES
        for name in needed
        if name not in services[f"{stage}-service"]["environment"]
    ]


def toolchain_problems() -> list[str]:
    channel = tomllib.loads(read("rust-toolchain.toml"))["toolchain"]["channel"]
    version = tomllib.loads(read("Cargo.toml"))["workspace"]["package"]["version"]
    problems = []
    if f"ARG RUST=rust:{channel}-" not in read("Dockerfile"):
        problems.append(f"Dockerfile: RUST must be the image of toolchain {channel}")
    if f"DATA_PROC_IMAGE=data-processing:{version}\n" not in read(".env.example"):
        problems.append(f".env.example: DATA_PROC_IMAGE must be data-processing:{version}")
    return problems


def main() -> int:
    models = [json.loads(Path(path).read_text(encoding="utf-8")) for path in sys.argv[1:]]
    services = {name: service for model in models for name, service in model["services"].items()}
    problems = [problem for name, service in services.items() for problem in service_problems(name, service)]
    problems += port_problems(models) + variable_problems() + command_problems(set(services)) + toolchain_problems()
    problems += address_problems(services)
    problems += [f"{stage}: no service or no standby" for stage in STAGES if not {f"{stage}-service", f"{stage}-standby"} <= set(services)]
    # Files of other programs, which must at least be readable.
    for path in sorted((ROOT / "deploy").rglob("*.xml")):
        ET.parse(path)
    tomllib.loads(read("monitoring/logs/vector.toml"))
    json.loads(read("monitoring/logs/index-template.json"))
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


sys.exit(main())
