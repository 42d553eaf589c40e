"""What schemathesis generates from the API's document, and how it holds the answers against it.

Its import takes longer than that of all other tests together, so it is imported by what calls it, when that runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from muster.api.endpoints import Endpoint
from muster.api.openapi import document
from muster.api.version import VERSION
from tests.fixtures.waiting import PATIENCE

SEED = 20_240_101
# Parameters that no route knows are ignored, as the document of a newer API may have more of them.
CONFIG = schemathesis.Config.from_dict({"generation": {"allow-extra-parameters": False}})
SCHEMA = schemathesis.openapi.from_dict(document(VERSION), config=CONFIG)
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
    ignored_auth,
]


def call_and_validate(
    url: str, endpoint: Endpoint, mode: str, known: dict[str, str], headers: Mapping[str, str], count: int
) -> int:
    """Call an endpoint with what its document allows or forbids; returns how often, which is at most `count`.

    `mode` is "positive" or "negative", `known` holds parameters of the path that name something. Raises an exception
    where an answer is not as the document says.
    """
    operation = SCHEMA[endpoint.path][endpoint.method]
    calls = 0

    @seed(SEED)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(GenerationMode(mode), path_parameters=known))
    def run(case: Any) -> None:
        nonlocal calls
        calls += 1
        case.call_and_validate(base_url=url, headers=headers, checks=CHECKS, timeout=PATIENCE)

    run()
    return calls
