"""Makes this process a control plane before the app is loaded: its settings, its database, its server.

infra/chalice_hooks.py calls `prepare`, in the stage `local` and for `chalice local` of any stage. Environment:
MUSTER_DATA, MUSTER_HEARTBEAT (5 seconds here), MUSTER_MAX_WAITS (64 here), MUSTER_LOCAL (1 here: 127.0.0.1 may be shown
as an endpoint), MUSTER_WHEELHOUSE (the folder with the wheels for hosts: build/wheelhouse), MUSTER_ADMIN_KEY,
MUSTER_REGISTRATION_TOKEN, and AWS_ENDPOINT_URL_DYNAMODB for another database than the embedded one.
"""

from __future__ import annotations

import functools
import logging
import os
import sqlite3
import sys
import time
from pathlib import Path

import chalice.local

from infra import wheelhouse
from infra.local.backup import DATABASE
from infra.local.damage import Damaged, Newer, check
from infra.local.dynamodb import Engine
from infra.local.server import DevServer, Site, stop
from infra.local.store import DataDirectory, DataInUse, Store
from muster.sanitize import log_to

log = logging.getLogger(__name__)


@functools.cache
def prepare() -> Site:
    """Set the environment's defaults, start the embedded database, and give `chalice local` our server. Once."""
    os.environ.setdefault("MUSTER_HEARTBEAT", "5")
    os.environ.setdefault("MUSTER_MAX_WAITS", "64")  # threads are cheaper than functions
    os.environ.setdefault("MUSTER_LOCAL", "1")
    os.environ.setdefault("MUSTER_WHEELHOUSE", str(wheelhouse.folder()))
    os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
    log_to(sys.stderr, "%(message)s")
    for chatty in ("botocore", "pynamodb"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    path = data_path()
    try:
        site = _site(DataDirectory(path))
    except (DataInUse, Damaged, Newer) as error:
        stop(f"muster: {error}")
    except (OSError, sqlite3.Error) as error:
        stop(f"muster: cannot use {path}: {getattr(error, 'strerror', None) or error}; mend that, or give another DATA")
    chalice.local.LocalDevServer = functools.partial(DevServer, site)  # type: ignore[assignment, misc]
    return site


def _site(data: DataDirectory) -> Site:
    credentials = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}
    if os.environ.get("AWS_ENDPOINT_URL_DYNAMODB"):
        for name, value in credentials.items():
            os.environ.setdefault(name, value)
        return Site(data, None)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        os.environ.pop(name, None)
    os.environ.update(credentials, AWS_EC2_METADATA_DISABLED="true")  # nothing here is meant for a real account
    data.lock()
    database = data.path / DATABASE
    if data.introduced and not database.exists():
        log.warning("muster: %s is gone; the server begins with an empty control plane", database)
        data.forget_introduction()
    warning = check(database, time.time(), was_used=data.introduced)
    if warning:
        log.warning("muster: %s", warning)
    engine = Engine(Store(database))
    engine.attach()
    return Site(data, engine)


def data_path() -> Path:
    """Outside the project, where `chalice local` would reload at every write."""
    if given := os.environ.get("MUSTER_DATA"):
        return Path(given).absolute()
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "muster"
