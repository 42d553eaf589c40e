"""Muster's control plane: the routes and the schedule, on Lambda or on one laptop."""

from __future__ import annotations

import os
import time
from importlib import import_module
from importlib.util import find_spec

from chalice.app import Rate

if "AWS_LAMBDA_FUNCTION_NAME" not in os.environ and find_spec("infra"):
    import_module("infra.chalice_hooks").before_the_app()

from chalicelib.routes import console, host, install, operator, worker
from chalicelib.routes.api_gateway import App
from chalicelib.telemetry import access_log
from chalicelib.workers import liveness

if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
    access_log.write_json()

app = App(app_name="muster", configure_logs=False)
app.register_blueprint(worker.blueprint)
app.register_blueprint(host.blueprint)
app.register_blueprint(operator.blueprint)
app.register_blueprint(install.blueprint)
app.register_blueprint(console.blueprint)


@app.schedule(Rate(1, unit=Rate.MINUTES))
def expire(event: object) -> None:
    """Record what silence means (chalicelib.workers.liveness)."""
    liveness.expire(time.time())
