"""The commands by section of the help: each with its module, which is imported with the first use, and its help.

The texts are those of the commands' docstrings; tests/muster/cli/test_commands.py compares them.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from importlib import import_module

import click

SECTIONS = {
    "Models": {
        "deploy": ("deploy", "Deploy a model: a name on the hub, or a folder on the worker."),
        "apply": ("apply", "Make the running models match a file."),
        "ps": ("ps", "List the deployments with their status, worker, and endpoint."),
        "show": ("deployments", "Show a deployment: flags, status, conditions, endpoint, and last crash."),
        "logs": ("logs", "Show the log of a deployment's current or last container."),
        "events": ("events", "Show the events of a deployment, of a worker, or of the fleet."),
        "top": ("top", "Show all GPUs and deployments, updated until Ctrl-C."),
        "explain": ("explain", "Explain an error code, a condition of a worker, or the log of a program that failed."),
        "stop": ("deployments", "Stop a deployment."),
        "start": ("deployments", "Start a deployment that is stopped or in error."),
        "restart": ("deployments", "Replace the container of a deployment, whatever its status."),
        "usage": ("usage_view", "Show what callers used of the models: requests and tokens."),
        "set": ("deployments", "Change a deployment, and replace its container."),
        "rm": ("deployments", "Delete a deployment that is stopped or in error."),
    },
    "Hosts": {
        "join": ("tokens", "Print the command that makes a GPU host a worker."),
        "workers": ("workers", "Manage workers: list, show, label, drain, lost, remove."),
        "containers": ("hosts", "List the containers on a worker and their deployments."),
        "images": ("hosts", "List the images on a worker."),
        "pull": ("hosts", "Pull an image on a worker before a deployment needs it."),
        "models": ("hosts", "List the models whose weights are in a worker's cache."),
        "disk": ("hosts", "Show the disks of a worker by folder, or the free space of all workers."),
        "prune": ("hosts", "Delete unused images, containers, and volumes that Muster left on a worker."),
        "ops": ("operations", "Operations of workers: list, show, cancel."),
    },
    "Access": {
        "login": ("login", "Store a control plane's URL and an API key, after checking them."),
        "logout": ("login", "Delete the stored login."),
        "tokens": ("tokens", "Registration tokens, with which hosts join: list, create, revoke."),
        "keys": ("tokens", "API keys for people, programs, gateways, and callers of models: list, create, revoke."),
    },
    "More": {
        "gateways": ("usage_view", "List the gateways that serve models."),
        "gateway": ("gateway", "One address for all models: serve it, or keep that of a LiteLLM proxy in sync."),
        "completion": ("completion", "Print the completion script of a shell."),
    },
}
MODULES = {name: module for section in SECTIONS.values() for name, (module, _) in section.items()}


class Commands(MutableMapping[str, click.Command]):
    """All commands by name. A command's module is imported with the first look at the command."""

    def __init__(self) -> None:
        self._imported: dict[str, click.Command] = {}

    def __getitem__(self, name: str) -> click.Command:
        if name not in self._imported and name in MODULES:
            module = import_module(f"muster.cli.{MODULES[name]}")
            self._imported.update({str(command.name): command for command in module.COMMANDS})
        return self._imported[name]

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._imported[name] = command

    def __delitem__(self, name: str) -> None:
        raise TypeError(f"{name} is removed from SECTIONS, not from here")

    def __iter__(self) -> Iterator[str]:
        return iter({**MODULES, **self._imported})

    def __len__(self) -> int:
        return len({**MODULES, **self._imported})
