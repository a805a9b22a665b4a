#!/usr/bin/env python3
"""Receives the notifications of a local Alertmanager and prints each alert as one JSON object a line.

notifications.py PORT
"""

import http.server
import json
import sys


class Receiver(http.server.BaseHTTPRequestHandler):
    """The path is the name of the receiver."""

    def do_POST(self):
        """Prints the alerts of one notification."""
        notification = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        for alert in notification["alerts"]:
            line = {"receiver": self.path.strip("/"), "status": alert["status"]} | alert["labels"] | alert["annotations"]
            print(json.dumps(line, ensure_ascii=False), flush=True)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        """No access log."""


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver).serve_forever()
