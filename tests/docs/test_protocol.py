"""docs/protocol.md against the contract: routes, error codes and states, none missing and none made up."""

from __future__ import annotations

import re

from chalicelib.reconcile.reports import FIXABLE, FIXABLE_ENV
from muster.api.endpoints import ENDPOINTS, Access
from muster.api.errors import STATUS
from muster.api.lifecycle import OperationStatus, Status
from tests.fixtures.markdown import read

PAGE = read("docs/protocol.md")


def test_every_route_is_there_and_no_other() -> None:
    mentioned = set(re.findall(r"`((?:GET|POST|PATCH|PUT|DELETE) /api/[^`]*)`", PAGE))
    assert mentioned == {f"{endpoint.method} {endpoint.path}" for endpoint in ENDPOINTS}


def test_every_route_names_its_role() -> None:
    rows = dict(re.findall(r"^\| `([A-Z]+ /api/[^`]*)` \| ([^|]*) \|", PAGE, re.M))
    for endpoint in ENDPOINTS:
        if endpoint.access in (Access.VIEWER, Access.OPERATOR, Access.ADMIN):
            role = endpoint.access.name.lower() + (", own" if endpoint.own_worker else "")
            assert rows[f"{endpoint.method} {endpoint.path}"] == role


def test_every_error_code_is_in_the_table_with_its_status() -> None:
    rows = re.findall(r"^\| (\d{3}) \| (.*) \|$", PAGE, re.M)
    table = {code: int(status) for status, codes in rows for code in re.findall(r"`([A-Z]+_[A-Z_]+|[A-Z]{9,})`", codes)}
    assert table == STATUS


def test_every_state_is_named() -> None:
    assert [state for state in (*Status, *OperationStatus) if state not in PAGE] == []


def test_what_a_fix_may_change_is_listed() -> None:
    rows = {
        field: set(re.findall(r"`(\w+)`", kept))
        for field, kept in re.findall(r"^\| `(\w+)` \|[^|]*\| (.*) \|$", PAGE, re.M)
    }
    assert rows["config"] == set(FIXABLE)
    assert rows["env"] == FIXABLE_ENV
