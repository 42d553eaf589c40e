"""The load generator for streams counts tokens, errors, and the time to each first token."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from bench.gateway_stack import BareModel
from bench.stream_load import StreamPlan, StreamsMeasured, request, run
from tests.fixtures import ROOT


def test_every_token_of_every_stream_is_counted(tmp_path: Path) -> None:
    model = BareModel(tmp_path)
    try:
        model.start()
        measured = run(StreamPlan(model.port, streams=3, tokens=20, rate=400.0))
        plan = {"port": model.port, "streams": 2, "tokens": 50, "rate": 0.0}
        command = [sys.executable, "-m", "bench.stream_load"]
        printed = subprocess.run(command, input=json.dumps(plan), cwd=ROOT, capture_output=True, text=True, check=True)
    finally:
        model.stop()
    assert (measured.tokens, measured.errors) == (60, 0)
    assert 0 < measured.first_p50 <= measured.first_p99 and measured.lag_p50 > 0
    flat_out = StreamsMeasured(**json.loads(printed.stdout))
    assert (flat_out.tokens, flat_out.errors, flat_out.lag_p50) == (100, 0, 0.0) and flat_out.rate > 0


def test_an_answer_that_is_an_error_counts_as_one(tmp_path: Path) -> None:
    model = BareModel(tmp_path)
    try:
        model.start()
        measured = run(StreamPlan(model.port, streams=2, tokens=0, rate=0.0, model="x"))
    finally:
        model.stop()
    assert measured.errors == 2 and measured.tokens == 2, "the model sends at least one token, and none was wanted"


def test_the_request_names_the_model_and_has_the_key() -> None:
    sent = request(StreamPlan(1, 1, 7, 0.0, bearer="mst_key_x", model="qwen"))
    head, _, body = sent.partition(b"\r\n\r\n")
    assert b"Authorization: Bearer mst_key_x" in head and f"Content-Length: {len(body)}".encode() in head
    assert json.loads(body)["model"] == "qwen" and json.loads(body)["max_tokens"] == 7
