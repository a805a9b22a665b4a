#!/usr/bin/env python3
"""Stands in for the containers of our image in test_k8s.sh, where kwok is the kubelet of all nodes and runs none.

For each pod it creates the objects of kwok that say what `kubectl logs` and `kubectl port-forward` give. The command of the container
decides, so a Deployment that runs another program than its name says is noticed:
- a service: the log and the port of this service in a local stack;
- `dp`, as Jobs run it: it runs here, with the arguments of the container, on the servers that DATA_PROC_* name.
Other containers have neither. Only ports that a container declares are forwarded.
kubectl is in PATH. FOLDER gets a log for each pod, in the format of container runtimes.
Failure: what cannot be created is reported on stderr, and the commands about that pod fail: kwok knows nothing of it.
"""

import argparse
import json
import signal
import subprocess
import sys
import threading
from datetime import datetime, timezone
from pathlib import Path
from typing import TextIO

# The port of each service in a local stack, before the offset.
SERVICES = {"normalization": 8080, "enrichment": 8081, "aggregation": 8082, "projection": 8083}
API = {"apiVersion": "kwok.x-k8s.io/v1alpha1"}


def log_line(line: str) -> str:
    """A line as a container runtime writes it."""
    return f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%S.%f}000Z stdout F {line.rstrip()}\n"


def objects(pod: dict, log: Path, offset: int) -> list[dict]:
    """What kwok has to know of a pod: its log, and where the ports of a service are."""
    container = pod["spec"]["containers"][0]
    meta = {"metadata": {name: pod["metadata"][name] for name in ("name", "namespace")}}
    found = [API | meta | {"kind": "Logs", "spec": {"logs": [{"containers": [container["name"]], "logsFile": str(log)}]}}]
    ports = [port["containerPort"] for port in container.get("ports", [])]
    if ports and (service := SERVICES.get(program(pod))):
        forward = {"ports": ports, "target": {"address": "127.0.0.1", "port": service + offset}}
        found.append(API | meta | {"kind": "PortForward", "spec": {"forwards": [forward]}})
    return found


def program(pod: dict) -> str:
    """The program that the container runs; empty: its image decides."""
    return Path((pod["spec"]["containers"][0].get("command") or [""])[0]).name


def run_job(command: list[str], file: TextIO) -> None:
    with file, subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as job:
        for line in job.stdout:
            file.write(log_line(line))
            file.flush()


def begin(pod: dict, args: argparse.Namespace) -> None:
    name = program(pod)
    if name not in SERVICES and name != "dp":
        return
    log = args.folder / f"{pod['metadata']['namespace']}.{pod['metadata']['name']}.log"
    file = log.open("w", encoding="utf-8")
    if name == "dp":
        command = [str(args.programs / name), *pod["spec"]["containers"][0].get("args", [])]
        threading.Thread(target=run_job, args=(command, file), daemon=True).start()
    else:
        with file, (args.stack / "logs" / f"{name}.log").open(encoding="utf-8") as lines:
            file.writelines(log_line(line) for line in lines)
    wanted = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects(pod, log, args.port_offset)})
    done = subprocess.run(["kubectl", "create", "-f", "-"], input=wanted, text=True, stdout=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        print(f"{log.name}: kwok was not told of it", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port-offset", type=int, required=True, help="of the local stack")
    parser.add_argument("--stack", type=Path, required=True, help="folder of the local stack")
    parser.add_argument("--programs", type=Path, required=True, help="folder of dp")
    parser.add_argument("folder", type=Path, help="for the logs of the pods")
    args = parser.parse_args()

    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    known: set[str] = set()
    while True:  # the API server ends a watch after half an hour
        with subprocess.Popen(["kubectl", "get", "--raw", "/api/v1/pods?watch=true"], stdout=subprocess.PIPE, text=True) as watch:
            try:
                for line in watch.stdout:
                    pod = json.loads(line)["object"]
                    # Without a node it does not run yet.
                    if "nodeName" in pod.get("spec", {}) and pod["metadata"]["uid"] not in known:
                        known.add(pod["metadata"]["uid"])
                        begin(pod, args)
            finally:
                watch.terminate()  # an API server that is to end waits for its watches


if __name__ == "__main__":
    main()
