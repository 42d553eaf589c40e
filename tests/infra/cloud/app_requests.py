"""Requests to the app in a process of its own that has only a function's environment.

    python -m tests.infra.cloud.app_requests

Each line that comes is a request as JSON: method, path, key and body. A line goes back for each: status and answer.
"""

from __future__ import annotations

import json
import sys

from chalice.test import Client

from app import app


def main() -> None:
    with Client(app) as client:
        for line in sys.stdin:
            method, path, key, body = json.loads(line)
            headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
            answer = client.http.request(method, path, headers=headers, body=body.encode())
            print(json.dumps([answer.status_code, json.loads(answer.body)]), flush=True)


if __name__ == "__main__":
    main()
