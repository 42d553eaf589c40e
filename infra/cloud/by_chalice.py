"""What `chalice deploy` alone, without `make deploy`, has no place for in its configuration."""

from __future__ import annotations

import os
from typing import Any

from chalice.app import Chalice
from chalice.deploy.models import RestAPI
from chalice.deploy.swagger import SwaggerGenerator

from infra.cloud import gateway


def complete() -> None:
    """Before it asks the app for its routes."""
    # requirements.txt names all that the functions need. With what that needs, botocore would come, which Lambda has.
    os.environ.setdefault("PIP_NO_DEPS", "1")
    written = SwaggerGenerator.generate_swagger

    def generate_swagger(self: SwaggerGenerator, app: Chalice, rest_api: RestAPI | None = None) -> dict[str, Any]:
        return written(self, app, rest_api) | gateway.responses()

    SwaggerGenerator.generate_swagger = generate_swagger  # type: ignore[method-assign]
