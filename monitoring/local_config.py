#!/usr/bin/env python3
"""Writes prometheus.yml and alertmanager.yml for a stack without containers.

local_config.py --out DIR --alertmanager PORT --receiver URL [--target JOB=PORT …]   < output of `dp ps --json`
Rules, routes and inhibitions are those of this folder. Receivers keep their names and send to URL instead.
"""

import argparse
import json
import pathlib
import re
import sys

import sources


def prometheus(ports, targets, alertmanager):
    """Static targets on loopback."""
    lines = [
        "global: {scrape_interval: 5s, evaluation_interval: 5s}",
        f"rule_files: [{sources.HERE}/recording_rules.yml, {sources.HERE}/alert_rules.yml]",
        f'alerting: {{alertmanagers: [{{static_configs: [{{targets: ["127.0.0.1:{alertmanager}"]}}]}}]}}',
        "scrape_configs:",
        "  - job_name: services",
        "    honor_labels: true",
        "    static_configs:",
    ]
    for service in sources.SERVICES:
        # A replica is called normalization-2.
        instances = [f'"127.0.0.1:{port}"' for name, port in ports.items() if re.fullmatch(rf"{service}(-\d+)?", name)]
        lines.append(f"      - {{targets: [{', '.join(instances)}], labels: {{service: {service}}}}}")
    for job, port in targets.items():
        lines += [f"  - job_name: {job}", f'    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]']
    return "\n".join(lines) + "\n"


def alertmanager(receiver):
    """The shipped file up to its receivers, then one webhook for each of them."""
    head, receivers = (sources.HERE / "alertmanager.yml").read_text().split("\nreceivers:\n")
    names = re.findall(r"^  - name: (\w+)", receivers, re.M)
    hooks = [f'  - name: {name}\n    webhook_configs: [{{url: "{receiver}/{name}", send_resolved: true}}]' for name in names]
    return head + "\nreceivers:\n" + "\n".join(hooks) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=pathlib.Path, metavar="DIR")
    parser.add_argument("--alertmanager", required=True, type=int, metavar="PORT")
    parser.add_argument("--receiver", required=True, metavar="URL")
    parser.add_argument("--target", action="append", default=[], metavar="JOB=PORT")
    arguments = parser.parse_args()
    ports = {process["name"]: process["port"] for process in json.load(sys.stdin)}
    targets = dict(target.split("=") for target in arguments.target)
    (arguments.out / "prometheus.yml").write_text(prometheus(ports, targets, arguments.alertmanager))
    (arguments.out / "alertmanager.yml").write_text(alertmanager(arguments.receiver))


if __name__ == "__main__":
    main()
