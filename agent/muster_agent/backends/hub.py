"""What the Hugging Face hub says of a model before anything is fetched for it.

One HEAD of its `config.json`, as huggingface_hub itself begins, and one question for the sizes of its files. The
answers' codes are those of huggingface_hub's `hf_raise_for_status`. A hub that does not answer, or not to the point,
says nothing about the model: its weights may be in the image or in the cache.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import quote, urljoin

import msgspec
import requests
from msgspec import Struct

from muster.api.connection import cause
from muster.api.messages import Fix
from muster.http import Bearer, new_session, read_limited
from muster_agent.backends.policy import is_path

DEFAULT_ENDPOINT = "https://huggingface.co"
HUB_TIMEOUT_SECONDS = (3.0, 5.0)
MAX_LISTING_BYTES = 8 * 1024 * 1024
MAX_CONFIG_BYTES = 1024 * 1024
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt")
"""vLLM fetches the files of the first of these that the repository has."""

_ON = frozenset({"1", "ON", "YES", "TRUE"})


@dataclass(frozen=True)
class Finding:
    """Something in the way of a start; one with `warns_only` is told and stops nothing."""

    error_code: str
    message: str
    warns_only: bool = False
    fix: Fix | None = None


@dataclass(frozen=True)
class Question:
    """`token` and `endpoint` as the model's server will have them."""

    model: str
    revision: str
    endpoint: str = DEFAULT_ENDPOINT
    token: str | None = field(default=None, repr=False)

    @property
    def config_url(self) -> str:
        return f"{self.endpoint}/{quote(self.model)}/resolve/{quote(self.revision, safe='')}/config.json"

    @property
    def sizes_url(self) -> str:
        return f"{self.endpoint}/api/models/{quote(self.model)}/revision/{quote(self.revision, safe='')}?blobs=true"


class Hub(Protocol):
    def obstacle(self, question: Question) -> Finding | None:
        """MODEL_NOT_FOUND, MODEL_GATED, or as a warning HUB_UNREACHABLE; None where the model can be had."""

    def weights(self, question: Question) -> int | None:
        """Bytes of what would be downloaded; None where the hub does not tell."""

    def config(self, question: Question) -> bytes | None:
        """The model's `config.json`; None where the hub does not tell."""


def question(model: str, revision: str | None, env: Mapping[str, str]) -> Question | None:
    """What to ask for a model that is served with `env`; None where no hub will be asked for it."""
    offline = any(env.get(name, "").upper() in _ON for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))
    elsewhere = env.get("VLLM_USE_MODELSCOPE", "").upper() in _ON or is_path(model) or "://" in model
    if offline or elsewhere:
        return None
    return Question(
        model=model.partition(":")[0],  # the rest names a quantization among its files
        revision=revision or "main",
        endpoint=(env.get("HF_ENDPOINT") or DEFAULT_ENDPOINT).rstrip("/"),
        token=env.get("HF_TOKEN") or env.get("HUGGING_FACE_HUB_TOKEN") or None,
    )


class HuggingFace:
    """The hub itself, or a mirror of it."""

    def obstacle(self, question: Question) -> Finding | None:
        try:
            # Where it redirects to is a mirror's or a renamed model's affair; the token stays here.
            with new_session(os.environ) as session:
                answer = session.head(
                    question.config_url, auth=Bearer(question.token), timeout=HUB_TIMEOUT_SECONDS, allow_redirects=False
                )
        except (requests.RequestException, OSError, ValueError) as error:
            return _unreachable(question, str(cause(error, question.endpoint, os.environ)))
        return _read(question, answer.status_code, answer.headers.get("X-Error-Code"))

    def weights(self, question: Question) -> int | None:
        listed = _fetch(question.sizes_url, question.token, MAX_LISTING_BYTES)
        try:
            listing = msgspec.json.decode(listed or b"{}", type=_Listing)
        except (ValueError, RecursionError):
            return None
        sizes = (
            [file.size or 0 for file in listing.siblings if file.rfilename.endswith(kind)] for kind in WEIGHT_SUFFIXES
        )
        return next((sum(group) for group in sizes if group), None) or None

    def config(self, question: Question) -> bytes | None:
        return _fetch(question.config_url, question.token, MAX_CONFIG_BYTES)


def _fetch(url: str, token: str | None, limit: int) -> bytes | None:
    """What is there, up to `limit` bytes. A redirect is followed below the same host alone, where the token belongs."""
    try:
        given: dict[str, Any] = {
            "auth": Bearer(token),
            "timeout": HUB_TIMEOUT_SECONDS,
            "allow_redirects": False,
            "stream": True,
        }
        with new_session(os.environ) as session:
            answer = session.get(url, **given)
            if answer.is_redirect and answer.headers["Location"].startswith("/"):
                answer.close()
                answer = session.get(urljoin(url, answer.headers["Location"]), **given)
            with answer:
                return read_limited(answer, limit) if answer.status_code == 200 else None
    except (requests.RequestException, OSError, ValueError):
        return None


class _File(Struct):
    rfilename: str
    size: int | None = None


class _Listing(Struct):
    siblings: list[_File] = []


def _read(question: Question, status: int, code: str | None) -> Finding | None:
    """A repository that is not there and one that is not for everybody are both 401 to a stranger: the code tells."""
    if status < 400 or code == "EntryNotFound":  # a repository without config.json is not wrong for that
        return None
    if status == 404 or code in ("RepoNotFound", "RevisionNotFound"):
        return Finding("MODEL_NOT_FOUND", _not_found(question, code))
    if status == 401:
        return Finding("MODEL_GATED", _not_admitted(question))
    if status == 403:
        return Finding(
            "MODEL_GATED",
            f"{question.model} is gated, and the owner of this HF_TOKEN has not accepted its license (or is not granted"
            f" access yet): ask for it at {question.endpoint}/{question.model}",
        )
    return _unreachable(question, f"status {status}")


def _not_found(question: Question, code: str | None) -> str:
    if code == "RevisionNotFound":
        return f"{question.model} has no revision {question.revision!r}: check config.revision"
    private = "" if question.token else "; a private one needs HF_TOKEN, in the deployment's `env` or on the host"
    return f"{question.endpoint} has no model {question.model}: check `model`{private}"


def _not_admitted(question: Question) -> str:
    if question.token:
        return f"{question.endpoint} does not take this HF_TOKEN for {question.model}: it is wrong or has expired"
    return (
        f"{question.model} is gated, and there is no token: set HF_TOKEN in the deployment's `env` or on the host, and"
        f" accept the license at {question.endpoint}/{question.model}"
    )


def _unreachable(question: Question, why: str) -> Finding:
    return Finding(
        "HUB_UNREACHABLE",
        f"{question.endpoint} could not be asked for {question.model} ({why}): it will start only if its weights are"
        " in the image or in the cache",
        warns_only=True,
    )
