"""Credentials in `config`: where they stand, and `config` without them.

`config` is shown to viewers and becomes the command line of a process, which every user of the host can list. So a
credential belongs in `env`. A field holds one if its name says so (`hf_token`, `api_key`, `aws_secret_access_key`), in
any spelling and at any depth, or if its value has the form of one (`hf_…`, `AKIA…`, `https://user:password@host`).
True, false, and null are no credentials: `use_auth_token: true` selects the host's own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

HIDDEN = "(hidden)"
"""What stands for a credential where `config` is shown."""

OWN_KEY = "to keep a key of your own, set env VLLM_API_KEY"
"""What to do instead of `api_key`: Muster makes the key of a deployment that brings none."""

MIN_SECRET = 8
"""Characters of a value of `env` that is hidden from texts. A shorter one is part of too many words."""

MAX_DEPTH = 64
"""Objects and lists in one another. No setting of vLLM has as many."""

# `re` compiles a pattern when it is first used, and keeps it: most processes that import this module read no `config`.
_WORD = r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+"
_ALONE = frozenset(
    {
        *("password", "passwords", "passwd", "passphrase", "passcode", "pwd", "secret", "secrets", "bearer"),
        *("authorization", "cookie", "jwt", "credential", "credentials"),
        *(
            "apikey",
            "apikeys",
            "apitoken",
            "accesskey",
            "secretkey",
            "privatekey",
            "authtoken",
            "accesstoken",
            "hftoken",
        ),
    }
)
"""One of these words anywhere in a name makes it the name of a credential."""
_BEFORE_KEY = frozenset({"api", "access", "secret", "private", "auth", "encryption", "signing", "account", "master"})
_BEFORE_TOKEN = frozenset(
    {
        *("hf", "huggingface", "face", "hub", "auth", "authentication", "authorization", "access", "api", "bearer"),
        *("session", "refresh", "security", "login", "account", "oauth", "registry", "github", "gitlab", "git"),
        *("gh", "wandb", "modelscope", "aws", "azure", "gcp", "google", "gcs", "openai", "anthropic", "ngc", "nvidia"),
        *("kaggle", "mlflow", "comet", "vault", "sas", "admin", "service", "client", "server", "worker", "personal"),
    }
)
"""The words before `token` that make it a credential: most tokens of a model are parts of its text."""
_ABBREVIATED = frozenset({"hf-t", "hf-to", "hf-tok", "hf-toke", "api-k", "api-ke"})
"""What argparse takes for `hf-token` and `api-key`."""

_FORMS = (
    r"\bhf_[A-Za-z0-9]{30,}|\bsk-[A-Za-z0-9_-]{20,}|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36,}"
    r"|\bgithub_pat_\w{22,}|\bglpat-[\w-]{20,}|\bnvapi-[\w-]{20,}|\bxox[abprs]-[\w-]{10,}|\bAIza[\w-]{35}"
    r"|\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]+|(?i:\bbearer\s+)(?=\S*\d)[\w.~+/=-]{8,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----(?:.*?-----END [A-Z ]*PRIVATE KEY-----|.*)"
    r"|(?<=://)[^\s/:@?#\"']*:[^\s/@?#\"']+(?=@)"
)
"""What nothing but a credential looks like."""
_FLAG = r"--?[A-Za-z][\w.-]*\+?"
_PART = r"[^\s,;&?]+"
_ASSIGNED = r"(-{0,2}[A-Za-z][\w.-]*)([=:])(\S*)"


def is_credential(name: str) -> bool:
    """Whether a field, flag or variable of this name holds a credential."""
    words = [word.lower() for word in re.findall(_WORD, name)]
    if _ALONE.intersection(words):
        return "allow" not in words  # --allow-credentials is a rule of CORS
    if any(first in _BEFORE_KEY and second in ("key", "keys") for first, second in pairwise(words)):
        return True
    if words[-1:] not in (["token"], ["tokens"]):
        return name.lower().lstrip("-").replace("_", "-") in _ABBREVIATED
    return words == ["token"] or (len(words) > 1 and words[-2] in _BEFORE_TOKEN)


def first_credential(config: Any) -> str | None:
    """Returns where the first credential stands and what to do instead, without its value; None without one."""
    found: list[str] = []
    try:
        _hide(config, "config", found.append)
    except RecursionError:
        return "config is nested too deeply"
    if not found:
        return None
    where = found[0]
    name = where.rpartition(".")[2].lower().replace("-", "_")
    variable = "HF_TOKEN" if name.startswith(("hf", "hugging")) else "VLLM_API_KEY" if name.startswith("api_k") else ""
    refused = f"{where}: a credential is not accepted in config, which viewers see and the host's process list shows"
    if variable == "VLLM_API_KEY":
        return f"{refused}: each deployment has a key: {OWN_KEY}"
    env = f"env.{variable}" if variable else "env"
    return f'{refused}: set {env} instead, to the value or to {{"from_host": true}}'


def without_credentials(config: dict[str, Any]) -> dict[str, Any]:
    """`config` with HIDDEN in place of each credential, and of what is too deep to be looked through."""
    try:
        hidden: dict[str, Any] = _hide(config, "config", lambda _: None)
    except RecursionError:
        return {key[:KEY_CHARACTERS]: HIDDEN for key in config}
    return hidden


def hidden_in(text: str) -> str:
    """`text` with HIDDEN in place of all that has the form of a credential."""
    return re.sub(_FORMS, HIDDEN, text, flags=re.ASCII | re.DOTALL)


KEY_CHARACTERS = 140
"""Characters of a key that are shown."""
_Found = Callable[[str], None]


def _hide(value: Any, where: str, found: _Found) -> Any:
    """Raises RecursionError for what is nested deeper than MAX_DEPTH."""
    if where.count(".") + where.count("[") > MAX_DEPTH:
        raise RecursionError
    if isinstance(value, dict):
        return {
            _name(key): _field(key, field, f"{where}.{_name(key)[:KEY_CHARACTERS]}", found)
            for key, field in value.items()
        }
    if isinstance(value, list):
        return _hide_in_list(value, where, found)
    return _hide_in_text(value, where, found) if isinstance(value, str) else value


def _field(key: str, value: Any, where: str, found: _Found) -> Any:
    if is_credential(key) and not isinstance(value, bool | None):
        found(where)
        return HIDDEN
    if _name(key) != key:
        found(where)
    return _hide(value, where, found)


def _name(key: str) -> str:
    """A key as it may be shown: somebody may have put the value into it."""
    assigned = re.match(_ASSIGNED, key, re.ASCII | re.DOTALL)
    if assigned and is_credential(assigned[1]):
        return f"{assigned[1]}{assigned[2]}{HIDDEN}"
    return hidden_in(key)


def _hide_in_list(values: list[Any], where: str, found: _Found) -> list[Any]:
    """A list may be a command line: what follows a flag belongs to it."""
    kept: list[Any] = []
    secret = ""
    for index, value in enumerate(values):
        place = f"{where}[{index}]"
        if isinstance(value, str) and re.fullmatch(_FLAG, value, re.ASCII):
            secret = value.lstrip("-") if is_credential(value) else ""
            kept.append(value)
        elif secret and not isinstance(value, bool | None):
            found(f"{where}.{secret}")
            kept.append(HIDDEN)
        else:
            secret = "" if isinstance(value, str) and value.startswith("-") else secret
            kept.append(_hide(value, place, found))
    return kept


def _hide_in_text(text: str, where: str, found: _Found) -> str:
    begins = text.find("=") + 1 if text.startswith("-") else 0  # --flag={"name": "value"}
    inner = _structure(text[begins:])
    if inner is not None:
        hidden = _hide(inner, where, found)
        return text if hidden == inner else text[:begins] + json.dumps(hidden, ensure_ascii=False)
    if text.lstrip().startswith("-") and len(words := text.split()) > 1:
        hidden = _hide_in_list(words, where, found)
        return text if hidden == words else " ".join(hidden)
    if "{" not in text:  # a chat template may have any word in it
        text = re.sub(_PART, lambda part: _hide_assigned(part[0], where, found), text)
    hidden = hidden_in(text)
    if hidden != text:
        found(where)
    return hidden


def _hide_assigned(part: str, where: str, found: _Found) -> str:
    """`name=value`, `--name=value`, `name:value`, and `other=name=value`."""
    assigned = re.fullmatch(_ASSIGNED, part, re.ASCII | re.DOTALL)
    if assigned is None or not assigned[3] or assigned[3] == HIDDEN:
        return part
    name, sign, value = assigned.groups()
    if is_credential(name):
        found(f"{where}.{name.lstrip('-')}")
        return f"{name}{sign}{HIDDEN}"
    return f"{name}{sign}{_hide_assigned(value, where, found)}"


def _structure(text: str) -> dict[str, Any] | list[Any] | None:
    """The object or list that `text` is as JSON. vLLM takes objects in this form, too."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        inner = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return inner if isinstance(inner, dict | list) else None
