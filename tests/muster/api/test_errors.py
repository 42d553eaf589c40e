"""Error codes and their statuses."""

from __future__ import annotations

import ast

import pytest

from muster.api import errors
from muster.api.errors import ApiError
from tests.fixtures import ROOT

CHALICELIB = ROOT / "chalicelib"


@pytest.mark.parametrize(("code", "status"), errors.STATUS.items())
def test_a_code_of_the_table_has_its_status(code: str, status: int) -> None:
    assert ApiError(code, "why").status == status


def test_a_workers_own_code_is_502() -> None:
    assert ApiError("CUDA_OUT_OF_MEMORY", "why").status == errors.WORKER_FAILED == 502


def test_an_error_is_its_message() -> None:
    error = ApiError("UNAVAILABLE", "try again", retry_after=2)
    assert (str(error), error.message, error.retry_after) == ("try again", "try again", 2)


def test_every_code_that_the_control_plane_raises_by_name_is_in_the_table() -> None:
    raised = {
        node.args[0].value
        for path in CHALICELIB.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "ApiError"
        if isinstance(node.args[0], ast.Constant)
    }
    assert len(raised) > 10
    assert raised <= errors.STATUS.keys()
