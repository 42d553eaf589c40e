"""Muster's control plane: the routes and the schedule, on Lambda or on one laptop."""

from __future__ import annotations

import gc
import os
import time
from importlib import import_module
from importlib.util import find_spec

if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
    gc.disable()  # Imported objects stay: to look for garbage among them is a tenth of a cold start.
elif find_spec("infra"):
    import_module("infra.chalice_hooks").before_the_app()

from chalice.app import Rate

from chalicelib.routes import table
from chalicelib.routes.api_gateway import App
from chalicelib.telemetry import access_log

app = App(app_name="muster", configure_logs=False)
table.register(app)


@app.schedule(Rate(1, unit=Rate.MINUTES))
def expire(event: object) -> None:
    """Record what silence means (chalicelib.workers.liveness)."""
    from chalicelib.workers import liveness  # which no request needs

    liveness.expire(time.time())


if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
    access_log.write_json()
    gc.freeze()
    gc.enable()
else:
    table.import_all()
