"""Compares the built Kubernetes overlays with each other and with the code; check_k8s.sh calls it with their folder.

Failure: one line for each fact that is stated in two places and differs, exit code 1.
"""

import pathlib
import re
import sys

import yaml  # in the environment of kubernetes-validate

OVERLAYS = ("local", "prod", "prod-backup", "prod-keda")
SERVICES = ("normalization", "enrichment", "aggregation", "projection")
# Drain of crates/service/src/life.rs.
DRAIN = 30
# Default of DATA_PROC_TOPIC_PARTITIONS outside `local`.
PARTITIONS = 12

problems = []


def check(condition, text):
    if not condition:
        problems.append(text)


def quantity(value):
    """A number of Kubernetes (250m, 1Gi, 50k) as a float."""
    number, unit = re.fullmatch(r"([0-9.]+)(m|k|Ki|Mi|Gi)?", str(value)).groups()
    return float(number) * {None: 1, "m": 0.001, "k": 1000, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}[unit]


def load(folder):
    built = {}
    for overlay in OVERLAYS:
        documents = yaml.safe_load_all((folder / f"{overlay}.yaml").read_text())
        built[overlay] = {(one["kind"], one["metadata"]["name"]): one for one in documents}
    return built


def of_kind(objects, *kinds):
    return [one for (kind, _), one in objects.items() if kind in kinds]


def pod_spec(workload):
    spec = workload["spec"]
    return spec.get("jobTemplate", {"spec": spec})["spec"]["template"]["spec"]


def settings(objects):
    (name,) = [name for kind, name in objects if kind == "ConfigMap" and name.startswith("data-processing-settings")]
    return objects["ConfigMap", name]["data"]


def release(objects):
    """All programs run the version of the workspace."""
    version = re.search(r'^version = "(.*)"', pathlib.Path("Cargo.toml").read_text(), re.M)[1]
    images = {pod_spec(one)["containers"][0]["image"] for one in of_kind(objects, "Deployment", "Job", "CronJob")}
    check(
        len(images) == 1 and images.pop().endswith(f":{version}"),
        f"k8s/components/release does not run version {version} of the workspace everywhere",
    )


def grace(objects, overlay):
    for deployment in of_kind(objects, "Deployment"):
        pod = pod_spec(deployment)
        needed = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"] + DRAIN
        check(
            pod["terminationGracePeriodSeconds"] > needed,
            f"{overlay}: {deployment['metadata']['name']} is killed before it has drained ({needed} s)",
        )


def variables(objects, overlay):
    """Every variable is one that the code reads."""
    code = "".join(path.read_text() for root in ("crates", "services") for path in pathlib.Path(root).rglob("*.rs"))
    for name in settings(objects):
        check(f'"{name.removesuffix("_FILE")}"' in code, f"{overlay}: no service reads {name}")


def peers(objects, overlay):
    """GET /health/cluster asks every pod of each service, and the network policy lets it."""
    for peer in settings(objects)["DATA_PROC_CLUSTER_PEERS"].split(","):
        service, name, port = re.fullmatch(r"(\w+)=http://([\w-]+):(\d+)", peer).groups()
        spec = objects["Service", name]["spec"]
        check(
            spec.get("clusterIP") == "None" and spec.get("publishNotReadyAddresses"),
            f"{overlay}: Service {name} has no address for each pod, ready or not",
        )
        behind = objects["Service", f"{service}-service"]["spec"]
        check(
            spec["selector"] == behind["selector"] and [one["port"] for one in spec["ports"]] == [int(port)],
            f"{overlay}: Service {name} has other pods or another port than {service}-service",
        )
        policy = objects["NetworkPolicy", "between-services"]["spec"]
        allowed = [rule["ports"][0]["port"] for rule in policy["ingress"] + policy["egress"]]
        check(allowed == [int(port)] * 2, f"{overlay}: policy between-services does not allow port {port}")


def routes(objects):
    """Every route of the Ingress exists, in the service that it leads to."""
    for path in objects["Ingress", "read-routes"]["spec"]["rules"][0]["http"]["paths"]:
        service = path["backend"]["service"]["name"].removesuffix("-service")
        code = pathlib.Path(f"services/{service}/src/http.rs").read_text()
        check(re.search(f'"{path["path"]}["/]', code), f"Ingress: {service} has no route {path['path']}")


def secrets(objects, overlay):
    """Every mounted key is in the Secret, and every key is mounted."""
    keys, mounted = set(objects["Secret", "data-processing-credentials"]["data"]), set()
    for workload in of_kind(objects, "Deployment", "Job", "CronJob"):
        (volume,) = [volume for volume in pod_spec(workload)["volumes"] if volume["name"] == "credentials"]
        mounted |= {item["key"] for item in volume["projected"]["sources"][0]["secret"]["items"]}
    check(keys == mounted, f"{overlay}: keys of the Secret and mounted keys differ: {sorted(keys ^ mounted)}")


def autoscaling(built):
    """Names of groups follow from the environment; KEDA has the limits of the autoscalers."""
    environment = settings(built["prod"])["DATA_PROC_ENV"]
    metrics = pathlib.Path("docs/metrics.md").read_text()
    rule = pathlib.Path("k8s/prometheus-adapter/config.yaml").read_text()
    for service in SERVICES:
        name = f"{service}-service"
        spec = built["prod"]["HorizontalPodAutoscaler", name]["spec"]
        scaled = built["prod-keda"]["ScaledObject", name]["spec"]
        cpu, lag = spec["metrics"][0]["resource"], spec["metrics"][1]["external"]
        metric, group = lag["metric"]["name"], lag["metric"]["selector"]["matchLabels"]["group"]
        check(f"| `{metric}` |" in metrics, f"{name}: docs/metrics.md does not list {metric}")
        check(f'__name__="{metric}"' in rule, f"{name}: the rule of the Prometheus adapter does not export {metric}")
        check(group == f"{service}-{environment}", f"{name}: scales on group {group}, not {service}-{environment}")
        check(spec["maxReplicas"] <= PARTITIONS, f"{name}: more replicas than partitions ({PARTITIONS})")
        ours = (
            spec["minReplicas"],
            spec["maxReplicas"],
            spec["behavior"],
            str(cpu["target"]["averageUtilization"]),
            quantity(lag["target"]["averageValue"]),
            True,
        )
        trigger = scaled["triggers"][1]["metadata"]
        theirs = (
            scaled["minReplicaCount"],
            scaled["maxReplicaCount"],
            scaled["advanced"]["horizontalPodAutoscalerConfig"]["behavior"],
            scaled["triggers"][0]["metadata"]["value"],
            quantity(trigger["threshold"]),
            f'{metric}{{group="{group}"}}' in trigger["query"],
        )
        check(ours == theirs, f"{name}: HorizontalPodAutoscaler {ours} and ScaledObject {theirs} differ")


def quota(objects):
    """The quota admits every service at its largest, a pod more of each during a rollout, the standby and the jobs."""
    hard = objects["ResourceQuota", "data-processing"]["spec"]["hard"]
    needed = dict.fromkeys(hard, 0.0)
    for workload in of_kind(objects, "Deployment", "Job", "CronJob"):
        scaler = objects.get(("HorizontalPodAutoscaler", workload["metadata"]["name"]))
        count = scaler["spec"]["maxReplicas"] if scaler else 1
        count += workload["kind"] == "Deployment"
        resources = pod_spec(workload)["containers"][0]["resources"]
        for name in hard:
            part, _, resource = name.partition(".")
            needed[name] += count * (1 if name == "pods" else quantity(resources[part][resource]))
    for name, limit in hard.items():
        check(needed[name] <= quantity(limit), f"the quota of {name} is {limit}, up to {needed[name]:g} are needed")


def servers(objects):
    """The servers of overlay local are those of docker compose."""
    example = pathlib.Path(".env.example")
    if not example.exists():
        return
    for server in of_kind(objects, "StatefulSet"):
        image = pod_spec(server)["containers"][0]["image"]
        check(f"={image}\n" in example.read_text(), f"local: .env.example has another image than {image}")


def main():
    built = load(pathlib.Path(sys.argv[1]))
    for overlay, objects in built.items():
        grace(objects, overlay)
        variables(objects, overlay)
        peers(objects, overlay)
        if overlay != "local":
            secrets(objects, overlay)
    release(built["prod-backup"])
    routes(built["prod"])
    autoscaling(built)
    quota(built["prod-backup"])
    servers(built["local"])
    print("\n".join(problems), end="\n" if problems else "", file=sys.stderr)
    return 1 if problems else 0


sys.exit(main())
