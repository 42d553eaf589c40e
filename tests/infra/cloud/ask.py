"""One request to the app in a process of its own: python -m tests.infra.cloud.ask METHOD PATH KEY [BODY]

With a function's environment and nothing more of it; prints the status and the answer as JSON.
"""

from __future__ import annotations

import json
import sys

from chalice.test import Client

from app import app


def main(method: str, path: str, key: str, body: str = "") -> None:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    with Client(app) as client:
        answer = client.http.request(method, path, headers=headers, body=body.encode())
    print(json.dumps([answer.status_code, json.loads(answer.body)]))


if __name__ == "__main__":
    main(*sys.argv[1:])
