"""The part of AWS's command line that docs/cloud.md uses: python -m tests.infra.cloud.aws SERVICE OPERATION --option …

The words become a call of botocore's, which knows every operation and option; what it does not know ends this.
"""

from __future__ import annotations

import sys
from typing import Any

import botocore.session

from infra.cloud.session import Client


def run(client_of: Client, service: str, operation: str, *words: str) -> None:
    client = client_of(service)
    if operation == "wait":
        name, *rest = words
        client.get_waiter(name.replace("-", "_")).wait(**_options(rest))
    else:
        getattr(client, operation.replace("-", "_"))(**_options(list(words)))


def _options(words: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    while words:
        word = words.pop(0).removeprefix("--")
        is_flag = not words or words[0].startswith("--")
        name = "".join(part.title() for part in word.removeprefix("no-").split("-"))
        found[name] = not word.startswith("no-") if is_flag else words.pop(0)
    return found


if __name__ == "__main__":
    run(botocore.session.get_session().create_client, *sys.argv[1:])
