"""Muster's control plane: the routes and the schedule, on Lambda or on one laptop."""

from __future__ import annotations

import os
import sys
import time

from chalice.app import Rate

if os.environ.get("MUSTER_STAGE") == "local":
    from infra import local

    local.prepare()

if "chalice.cli" in sys.modules:  # the `chalice` command is about to ask the app for its routes
    from infra.cloud import by_chalice

    by_chalice.complete()

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
