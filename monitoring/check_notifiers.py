#!/usr/bin/env python3
"""Checks what reaches the pager (PagerDuty, Events API v2) and the chat (Slack) with the shipped alertmanager.yml.

Role: a real Alertmanager sends to a stub on loopback. Only the addresses and the files of secrets differ from the shipped file, and
every duration of the routes is FASTER times shorter. The alerts are those that the tests of the rules expect (tests/alerts.yml), one
for each rule; they fire and resolve.
Invariants: each notification of PAGER and CHAT arrives with every field, and no other one arrives: no warning at the pager, no info
anywhere, nothing at the second level that was resolved or acknowledged in time.
Failure: one line for each difference (MOST of them), with the body if there is one; exit code 1. Exit code 2 if Alertmanager cannot be started.
"""

import collections
import datetime
import http.server
import json
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

import sources

PROGRAM = "prometheus-alertmanager"
FASTER = 200
# That leaves time to resolve an alert before it escalates.
ESCALATES_AFTER = datetime.timedelta(minutes=15) / FASTER
# For one step; each takes less than 5 s on an idle machine.
PATIENCE = 30
POLL = 0.05
# Differences that are printed.
MOST = 20
KEYS = {"pager": "key-of-the-pager", "escalation": "key-of-the-second-level"}
ICONS = {"critical": ":rotating_light:", "warning": ":warning:", "none": ":grey_question:"}
COLOURS = {"critical": "danger", "warning": "warning", "none": "warning"}

# Loopback is never behind a proxy.
HTTP = urllib.request.build_opener(urllib.request.ProxyHandler({}))

# What identifies a notification: its receiver, firing or resolved, the severity and the name of its alerts.
Key = collections.namedtuple("Key", "receiver status severity name")


def now():
    return datetime.datetime.now(datetime.timezone.utc)


def severity(alert):
    return alert["labels"].get("severity", "none")


def rule_alerts():
    """The first alert that the tests of each rule expect: severity and name → labels and annotations."""
    text = (sources.HERE / "tests/alerts.yml").read_text()
    found, name = {}, None
    for match in re.finditer(r"alertname: (\w+)|exp_labels: (\{.*\})\n +exp_annotations: (\{.*\})", text):
        name = match[1] or name
        if match[2]:
            alert = {"labels": {"alertname": name, **json.loads(match[2])}, "annotations": json.loads(match[3])}
            found.setdefault((severity(alert), name), alert)
    return found


def steps():
    """Groups of alerts that are sent together. Each step resolves before the next, so that no alert mutes another one.

    A group is what arrives as one notification.
    """
    alerts = rule_alerts()
    rules = {(rule["labels"]["severity"], rule["name"]) for rule in sources.rules("alert_rules.yml")}
    if rules != alerts.keys():
        sys.exit(f"rules without an expected alert in tests/alerts.yml: {sorted(rules ^ alerts.keys())}")
    config = (sources.HERE / "alertmanager.yml").read_text()
    muted = {name for names in re.findall(r'target_matchers: \[alertname=~"(.+)"\]', config) for name in names.split("|")}

    def of(wanted, can_be_muted):
        return [[alert] for (level, name), alert in alerts.items() if level in wanted and (name in muted) == can_be_muted]

    one = alerts["warning", "ServiceDegraded"]
    summary = one["annotations"]["summary"].replace(one["labels"]["instance"], "other:8080")
    other = {"labels": one["labels"] | {"instance": "other:8080"}, "annotations": one["annotations"] | {"summary": summary}}
    quiet = of(("info", "warning"), True)
    next(group for group in quiet if group[0] is one).append(other)
    # Without a severity, as the runbook of NotificationsFailing may send it: the chat gets it.
    plain = {"labels": {"alertname": "WithoutSeverity"}, "annotations": {}}
    return [quiet, [*of(("info", "warning"), False), [plain]], of(("critical",), True), of(("critical",), False)]


class Stub(http.server.ThreadingHTTPServer):
    """PagerDuty and Slack; keeps what they are sent."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), StubRequest)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.changed = threading.Condition()
        self.received = {}
        self.unreadable = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def keep(self, path, text):
        try:
            body = json.loads(text)
            key = (pager_key if path == "/pagerduty" else chat_key)(body)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            self.unreadable.append(f"{path} was sent a body without {error}: {text.strip()}")
            return
        with self.changed:
            self.received.setdefault(key, []).append(body)
            self.changed.notify_all()

    def missing(self, keys):
        """Those that have not arrived within PATIENCE."""
        with self.changed:
            self.changed.wait_for(lambda: keys <= self.received.keys(), PATIENCE)
            return keys - self.received.keys()


class StubRequest(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        """Answers as PagerDuty and Slack do."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.keep(self.path, body.decode())
        status, answer = (202, b'{"status":"success"}') if self.path == "/pagerduty" else (200, b"ok")
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        """No access log."""


def pager_key(body):
    receiver = next((name for name, key in KEYS.items() if key == body["routing_key"]), f"owner of {body['routing_key']}")
    status = {"trigger": "firing", "resolve": "resolved"}.get(body["event_action"], body["event_action"])
    # That of the alerts: the severity of the event is the same for all of them.
    details = body["payload"]["custom_details"]
    levels = re.findall(r"^ - severity = (\w+)$", details["firing"] + details["resolved"], re.M)
    return Key(receiver, status, levels[0] if levels else "none", body["payload"]["class"])


def chat_key(body):
    attachment = body["attachments"][0]
    fields = {field["title"]: field["value"] for field in attachment["fields"]}
    status = "resolved" if attachment["color"] == "good" else "firing"
    return Key("chat", status, fields["severity"], fields["type"])


def local_config(folder, url):
    """The shipped file with the addresses of the stub, secrets of its own, and shorter durations."""
    text = (sources.HERE / "alertmanager.yml").read_text()
    secrets = {
        "pagerduty-routing-key": KEYS["pager"],
        "pagerduty-escalation-key": KEYS["escalation"],
        "slack-webhook-url": f"{url}/slack",
    }
    for name, value in secrets.items():
        (folder / name).write_text(value)
    text = text.replace("/run/secrets/", f"{folder}/")
    if "global:\n" not in text or "url: " in text:
        sys.exit("alertmanager.yml names an address, or has no section global: the notifications would not reach the stub")
    text = text.replace("global:\n", f"global:\n  pagerduty_url: {url}/pagerduty\n")

    def shorter(match):
        seconds = int(match[2]) * {"s": 1, "m": 60, "h": 3600}[match[3]]
        return f"{match[1]}: {seconds * 1000 // FASTER}ms"

    text = re.sub(r"(group_wait|group_interval|repeat_interval): (\d+)([smh])", shorter, text)
    path = folder / "alertmanager.yml"
    path.write_text(text)
    return path


class Alertmanager:
    """The program, on a free port, until the end of the block."""

    def __init__(self, folder, url):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        self.url, self.log = f"http://{address}", folder / "log"
        arguments = {
            "config.file": local_config(folder, url),
            "storage.path": folder / "data",
            "web.listen-address": address,
            "cluster.listen-address": "",
        }
        command = [PROGRAM, *(f"--{name}={value}" for name, value in arguments.items())]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def __enter__(self):
        deadline = time.monotonic() + PATIENCE
        while not self.is_ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.__exit__()
                print(f"{PROGRAM} does not start:\n{self.log.read_text()}", file=sys.stderr)
                sys.exit(2)
            time.sleep(POLL)
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def is_ready(self):
        try:
            return HTTP.open(f"{self.url}/-/ready", timeout=PATIENCE).status == 200
        except OSError:
            return False

    def post(self, path, body):
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/api/v2/{path}", json.dumps(body).encode(), headers)
        try:
            HTTP.open(request, timeout=PATIENCE).close()
        except urllib.error.HTTPError as error:
            sys.exit(f"Alertmanager refuses {path}: {error.read().decode()}")

    def send(self, groups, start, end):
        """Alerts as Prometheus sends them; an end in the past resolves them."""
        times = {"startsAt": start.isoformat(), "endsAt": end.isoformat()}
        self.post("alerts", [alert | times for group in groups for alert in group])

    def acknowledge(self, alert, start):
        """As `dp alerts ack` does: silences exactly these labels."""
        matchers = [{"name": name, "value": value, "isRegex": False} for name, value in alert["labels"].items()]
        until = (start + datetime.timedelta(hours=2)).isoformat()
        self.post("silences", {"matchers": matchers, "startsAt": start.isoformat(), "endsAt": until, "createdBy": "check", "comment": "seen"})


def pager_problems(group, key, body):
    """Differences of an event from what PagerDuty and the person on duty need."""
    alert, labels = group[0], group[0]["labels"]
    summary = f"{key.name}: {alert['annotations']['summary']}"
    late = "Not acknowledged for 15 minutes: " if key.receiver == "escalation" else ""
    payload = body["payload"]
    details = payload.get("custom_details", {})
    expected = {
        "payload.summary": (payload.get("summary"), late + summary),
        "payload.source": (payload.get("source"), labels.get("instance") or labels.get("service") or labels.get("job") or "pipeline"),
        "payload.component": (payload.get("component"), labels.get("service") or labels.get("stage") or labels.get("job") or "pipeline"),
        "payload.severity": (payload.get("severity"), "critical"),
        "custom_details.runbook": (details.get("runbook"), alert["annotations"]["runbook_url"]),
        "custom_details.summaries": (details.get("summaries"), alert["annotations"]["summary"] + "\n"),
        "custom_details.num_firing": (details.get("num_firing"), "1" if key.status == "firing" else "0"),
    }
    yield from differences(expected)
    # Alertmanager's own list of labels, which names the partition, the topic and the like.
    for name, value in labels.items():
        if f" - {name} = {value}\n" not in details.get(key.status, ""):
            yield f"custom_details.{key.status} lacks {name} = {value}"
    if not body.get("dedup_key"):
        yield "there is no dedup_key"


def chat_problems(group, key, body, start):
    """Differences of a message from what the chat shows."""
    labels, resolved = group[0]["labels"], key.status == "resolved"
    [attachment] = body["attachments"]
    fields = {field["title"]: field["value"] for field in attachment["fields"]}
    icon = ":white_check_mark:" if resolved else ICONS[key.severity]
    lines = [("resolved: " if resolved else "") + alert["annotations"].get("summary", key.name) for alert in group]
    nodes = [alert["labels"].get("instance", "-") for alert in group]
    expected = {
        "channel": (body.get("channel"), "#data-processing"),
        "title": (attachment.get("title"), f"{icon} {key.name}"),
        "color": (attachment.get("color"), "good" if resolved else COLOURS[key.severity]),
        "text": (attachment.get("text"), f"Runbook: {group[0]['annotations'].get('runbook_url', 'none')}"),
        "field severity": (fields.get("severity"), key.severity),
        "field type": (fields.get("type"), key.name),
        "field service": (fields.get("service"), labels.get("service", "-")),
        "field time": (fields.get("time"), f"{start:%Y-%m-%d %H:%M:%S} UTC"),
        # Alertmanager does not order the alerts of a group.
        "field node": (sorted(fields.get("node", "").split(", ")), sorted(nodes)),
        "field message": (sorted(fields.get("message", "").strip().split("\n")), sorted(lines)),
    }
    yield from differences(expected)


def differences(expected):
    for name, (found, wanted) in expected.items():
        if found != wanted:
            yield f"{name} is {found!r} instead of {wanted!r}"


class Check:
    """What has to arrive, what is wrong with what arrived."""

    def __init__(self, stub, alertmanager):
        self.stub, self.alertmanager = stub, alertmanager
        self.expected, self.problems = set(), []

    def step(self, groups, escalate):
        """Alerts fire and resolve; with `escalate`, one is acknowledged and the others are resolved only after their escalation."""
        start = now()
        self.alertmanager.send(groups, start, start + datetime.timedelta(hours=1))
        told = [group for group in groups if severity(group[0]) != "info"]
        self.arrive(told, ("pager", "chat"), "firing", start)
        if escalate:
            acknowledged, *told = told
            self.alertmanager.acknowledge(acknowledged[0], start)
            self.tolerate_late([acknowledged], start)
            self.arrive(told, ("escalation",), "firing", start)
        self.alertmanager.send(groups, start, now())
        if not escalate:
            self.tolerate_late(told, start)
        self.arrive(told, ("pager", "chat", "escalation") if escalate else ("pager", "chat"), "resolved", start)

    def tolerate_late(self, groups, start):
        """On a machine that was too slow to prevent the escalation, it may arrive."""
        if now() - start > ESCALATES_AFTER:
            print("slow machine: whether these alerts escalate is not checked", file=sys.stderr)
            keys = [(severity(group[0]), group[0]["labels"]["alertname"]) for group in groups]
            self.expected |= {Key("escalation", status, *key) for status in ("firing", "resolved") for key in keys}

    def arrive(self, groups, receivers, status, start):
        """Waits until each group is at its receivers, and reads the bodies."""
        keys = {}
        for group in groups:
            level = severity(group[0])
            for receiver in receivers:
                if receiver == "chat" or level == "critical":
                    keys[Key(receiver, status, level, group[0]["labels"]["alertname"])] = group
        self.expected |= keys.keys()
        missing = self.stub.missing(set(keys))
        if missing:
            self.problems += [f"has not arrived within {PATIENCE} s: {' '.join(key)}" for key in sorted(missing)]
            raise TimeoutError
        for key, group in keys.items():
            for body in self.stub.received[key]:
                found = chat_problems(group, key, body, start) if key.receiver == "chat" else pager_problems(group, key, body)
                self.problems += [f"{' '.join(key)}: {problem}: {json.dumps(body)}" for problem in found]

    def finish(self):
        """No other notification has arrived, and each resolve closes the incident that its trigger opened."""
        received = self.stub.received
        unexpected = [f"must not arrive: {' '.join(key)}" for key in sorted(received.keys() - self.expected)]
        self.problems = self.stub.unreadable + unexpected + self.problems
        opened = collections.defaultdict(set)
        for key, bodies in received.items():
            if key.receiver != "chat":
                opened[key.receiver, key.name] |= {body.get("dedup_key") for body in bodies}
        for (receiver, name), dedup_keys in opened.items():
            if len(dedup_keys) != 1:
                self.problems.append(f"{receiver} {name}: events of one incident have several dedup_keys: {sorted(map(str, dedup_keys))}")
        if len({frozenset(keys) for keys in opened.values()}) != len(opened):
            self.problems.append("two incidents have the same dedup_key")


def main():
    if not shutil.which(PROGRAM):
        print(f"{PROGRAM} is missing: apt-get install --no-install-recommends {PROGRAM}", file=sys.stderr)
        sys.exit(2)
    # The default would leave Alertmanager running.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    stub = Stub()
    with tempfile.TemporaryDirectory() as folder, Alertmanager(pathlib.Path(folder), stub.url) as alertmanager:
        check = Check(stub, alertmanager)
        *early, last = steps()
        try:
            for groups in early:
                check.step(groups, escalate=False)
            # By its end, the time of every escalation of an earlier step is over.
            check.step(last, escalate=True)
        except TimeoutError:
            pass
        check.finish()
    for problem in check.problems[:MOST]:
        print(problem, file=sys.stderr)
    if len(check.problems) > MOST:
        print(f"… and {len(check.problems) - MOST} more", file=sys.stderr)
    if check.problems:
        sys.exit(1)
    count = collections.Counter(key.receiver for key in check.expected)
    print(f"notifications: {count['pager']} of the pager, {count['escalation']} of the second level, {count['chat']} of the chat")


if __name__ == "__main__":
    main()
