"""What `muster apply` reads and what it would do: pure, from a file and what there is to steps in words.

    models:
      qwen:                           the model's name here
        model: Qwen/Qwen3-0.6B
        gpus: 1
        config: {max_model_len: 4096}

Applying it twice does nothing the second time. Models that the file does not name are left alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
import yaml
from msgspec import Struct

from muster.api import messages as m
from muster.api import resources as r
from muster.cli import pairs

Verb = Literal["create", "change", "replace", "start", "stop", "keep"]


class Wanted(Struct, forbid_unknown_fields=True):
    """One model of the file. `worker` is a name or an id."""

    model: str
    gpus: r.GpuRequest = 1
    config: m.Config = {}
    worker: str | None = None
    selector: m.Labels = {}
    image: str | None = None
    env: m.Env = {}
    restart: Literal["on-failure", "never"] = "on-failure"
    state: Literal["running", "stopped"] = "running"


class Models(Struct, forbid_unknown_fields=True):
    models: dict[r.DeploymentName, Wanted]


class FileError(Exception):
    """Its message has the place in the file."""


@dataclass(frozen=True)
class Step:
    """`why` are the differences, in words. `worker_id` is the one that `wanted.worker` means."""

    verb: Verb
    name: str
    wanted: Wanted
    found: r.Deployment | None = None
    why: tuple[str, ...] = ()
    worker_id: str | None = None
    patch: r.DeploymentPatch = field(default_factory=r.DeploymentPatch)

    @property
    def new(self) -> r.NewDeployment:
        wanted = self.wanted
        return r.NewDeployment(
            model=wanted.model,
            name=self.name,
            gpus=wanted.gpus,
            config=wanted.config,
            worker_id=self.worker_id,
            selector=wanted.selector,
            image=wanted.image,
            env=wanted.env,
            restart=wanted.restart,
        )


class _Loader(yaml.SafeLoader):
    """Without dates, which are no JSON; `on` and `no` are words; a key that is given twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise FileError(f"line {key.start_mark.line + 1}: {key.value!r} is given twice")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_BOOL = "tag:yaml.org,2002:bool"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in (_BOOL, "tag:yaml.org,2002:timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_BOOL, re.compile("^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))


def read(content: str) -> dict[str, Wanted]:
    """Raises FileError."""
    try:
        loaded = yaml.load(content, _Loader)  # a SafeLoader
        models = msgspec.convert(loaded, Models).models
        msgspec.json.encode(models)  # an alias may make a value that never ends
        return models
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise FileError(f"{where}{getattr(error, 'problem', None) or 'this is no YAML'}") from error
    except msgspec.ValidationError as error:
        what, _, path = str(error).partition(" - at `$")
        raise FileError(f"{path.strip('.`') or 'the file'}: {what}") from error
    except RecursionError as error:
        raise FileError("nested too deeply") from error


def plan(
    file: Mapping[str, Wanted], found: Mapping[str, r.Deployment], workers: Mapping[str, str], *, send_env: bool = False
) -> list[Step]:
    """`found` by name; `workers`: what the file calls a worker to its id."""
    return [_step(name, wanted, found.get(name), workers, send_env) for name, wanted in file.items()]


def _step(name: str, wanted: Wanted, found: r.Deployment | None, workers: Mapping[str, str], send_env: bool) -> Step:
    worker_id = workers[wanted.worker] if wanted.worker else None
    if found is None:
        stopped = ("stopped at once",) if wanted.state == "stopped" else ()
        return Step("create", name, wanted, None, (wanted.model, *stopped), worker_id)
    fixed = _differences(found, {"model": wanted.model, "selector": wanted.selector, "restart": wanted.restart})
    patch, changed = _patch(wanted, found, worker_id, send_env)
    if fixed:
        return Step("replace", name, wanted, found, (*fixed, *changed), worker_id)
    if changed:
        return Step("change", name, wanted, found, tuple(changed), worker_id, patch)
    if wanted.state == "stopped" and found.desired == "running":
        return Step("stop", name, wanted, found)
    if wanted.state == "running" and (found.desired == "stopped" or found.status in ("error", "stopped")):
        why = f"it is {found.status}" + (f": {found.error_code}" if found.error_code else "")
        return Step("start", name, wanted, found, (why,))
    return Step("keep", name, wanted, found)


def _differences(found: r.Deployment, wanted: Mapping[str, Any]) -> list[str]:
    return [
        f"{name}: {pairs.shown(getattr(found, name))} → {pairs.shown(value)}"
        for name, value in wanted.items()
        if getattr(found, name) != value
    ]


def _patch(
    wanted: Wanted, found: r.Deployment, worker_id: str | None, send_env: bool
) -> tuple[r.DeploymentPatch, list[str]]:
    """What can be changed in place. Of env only the names can be compared, since values cannot be read back."""
    patch = r.DeploymentPatch()
    why = []
    if found.config != wanted.config:
        patch.config = wanted.config
        why += _config_differences(found.config, wanted.config)
    if found.image != wanted.image:
        patch.image = wanted.image
        why += _differences(found, {"image": wanted.image})
    if found.gpus != wanted.gpus:
        patch.gpus = wanted.gpus
        why += _differences(found, {"gpus": wanted.gpus})
    if worker_id is not None and found.worker_id != worker_id:
        patch.worker_id = worker_id
        why.append(f"worker: → {wanted.worker}")
    names = sorted(wanted.env)
    if found.env != names or (send_env and names):
        patch.env = wanted.env
        why.append(f"env: {', '.join(names) or 'none'}" + (", sent again" if found.env == names else ""))
    return patch, why


def _config_differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    nothing = object()
    both = {flag: (before.get(flag, nothing), after.get(flag, nothing)) for flag in sorted({*before, *after})}
    say = {nothing: "not set"}
    return [
        f"config.{flag}: {say[a] if a is nothing else pairs.shown(a)} → {say[b] if b is nothing else pairs.shown(b)}"
        for flag, (a, b) in both.items()
        if a != b
    ]
