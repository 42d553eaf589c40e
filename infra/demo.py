"""`make demo`: a control plane, a worker and a model from nothing, and a question for the model.

Environment: ONCE=1 ends after the answer; PROMPT is what the model is asked; MODEL is what is deployed, CONFIG its
settings as JSON. It serves a real model where vLLM is on the PATH, or where there are a GPU and Docker; else it uses
infra/fake_vllm.py, and says so.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import psutil
import requests
from docker.errors import DockerException
from rich.console import Console
from rich.markup import escape

from infra.demo_api import Api
from infra.demo_stage import (
    PROJECT,
    DemoFailed,
    Stage,
    attempts,
    ignore_signals,
    on_stage,
    remove_containers,
    remove_containers_of_agent,
)
from muster_agent.gpus.devices import Devices

console = Console(highlight=False)

MODEL = "Qwen/Qwen3-0.6B"
WORDS = (
    "amber",
    "brook",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "grove",
    "heron",
    "island",
    "kestrel",
    "lantern",
    "nimbus",
)
START_SECONDS = 300.0
MODEL_SECONDS = {True: 3600.0, False: 300.0}
"""For a real model an image and weights may have to be fetched first; the stand-in has neither.
A machine that is busy with other work needs a hundred times as long as an idle one."""
STOP_SECONDS = 120.0


@dataclass(frozen=True)
class Host:
    """How this machine can serve a model. `arguments` are the agent's; `image` and `env` the deployment's."""

    engine: str
    arguments: tuple[str, ...]
    gpus: int
    real: bool
    image: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)


def look_at_host() -> Host:
    gpus = min(Devices().read().info.count, 1)
    if shutil.which("vllm"):
        return Host("process", ("--engine", "process"), gpus, real=True)
    if gpus and _docker_answers():
        return Host("docker", ("--engine", "docker"), gpus, real=True)
    command = f"{sys.executable} {PROJECT / 'infra' / 'fake_vllm.py'}"
    return Host("process", ("--engine", "process", "--vllm-command", command), 0, real=False)


def _docker_answers() -> bool:
    try:
        docker.from_env().close()
        return True
    except DockerException:
        return False


Check = Callable[[Stage, Api, str], None]


class Demo:
    def __init__(self, stage: Stage, host: Host, model: str, heartbeat: float = 2) -> None:
        self._stage = stage
        self._host = host
        self._model = model
        self._heartbeat = heartbeat
        self._api: Api | None = None
        self.caller_key = ""
        self.key, self._token = f"mst_key_{secrets.token_urlsafe(32)}", f"mst_reg_{secrets.token_urlsafe(32)}"

    def start_control_plane(self) -> Api:
        step("Starting the control plane")
        self._stage.start(
            "control plane",
            [sys.executable, "-m", "infra.local", "serve", "--port", "0", "--data", str(self._stage.path / "data")],
            {
                "MUSTER_ADMIN_KEY": self.key,
                "MUSTER_REGISTRATION_TOKEN": self._token,
                "MUSTER_HEARTBEAT": f"{self._heartbeat:g}",
            },
        )
        for _ in attempts(START_SECONDS):
            self._stage.check()
            for line in self._stage.read("control plane").splitlines():
                if line.startswith("Serving on "):
                    url = line.split()[2]
                    say(f"{url}  [dim](API key {self.key})[/]")
                    self._api = Api(url, self.key)
                    return self._api
        raise DemoFailed(f"the control plane did not start within {START_SECONDS:.0f} s", "control plane")

    def start_agent(self, api: Api) -> str:
        """The worker's id."""
        step("Joining this machine as a worker")
        arguments = ["--url", api.url, "--name", "demo", "--state-dir", str(self._stage.path / "agent")]
        if Path(self._model).is_dir():
            arguments += ["--model-root", str(Path(self._model).resolve().parent)]
        if self._host.engine == "docker":
            state = self._stage.path / "agent"
            self._stage.at_the_end(lambda: remove_containers_of_agent(state))
        # The stand-in serves any name, so the hub is not asked for it.
        offline = {} if self._host.real else {"HF_HUB_OFFLINE": "1"}
        self._stage.start(
            "agent",
            [sys.executable, "-m", "muster_agent", *arguments, *self._host.arguments],
            {"MUSTER_TOKEN": self._token} | offline,
        )
        for _ in attempts(START_SECONDS):
            self._stage.check()
            for worker in api.get("/api/workers")["workers"]:
                gpus = ", ".join(gpu["name"] for gpu in worker["gpu_info"]["devices"]) or "no GPU"
                say(f"worker {worker['worker_id']}: {worker['system_info']['os']}, {gpus}, {self._host.engine} engine")
                return str(worker["worker_id"])
        raise DemoFailed(f"the agent did not register within {START_SECONDS:.0f} s", "agent")

    def deploy(self, api: Api) -> dict[str, Any]:
        """The deployment, once it runs."""
        step(f"Deploying {self._model}")
        config = json.loads(os.environ.get("CONFIG") or "{}")
        wanted = {"model": self._model, "gpus": self._host.gpus, "config": config, "env": dict(self._host.env)}
        if self._host.image is not None:
            wanted["image"] = self._host.image
        created = api.post("/api/deployments", wanted)
        shown = ""
        for _ in attempts(MODEL_SECONDS[self._host.real], 0.1):
            self._stage.check()
            deployment = api.get(f"/api/deployments/{created['deployment_id']}")
            line = _status_line(deployment)
            if line != shown:
                say(line)
                shown = line
            if deployment["status"] == "running":
                return deployment
            if deployment["status"] == "error":
                raise DemoFailed(_why(deployment), "agent")
        raise DemoFailed(f"the model did not run within {MODEL_SECONDS[self._host.real]:.0f} s", "agent")

    def ask(self, api: Api, deployment: dict[str, Any], prompt: str) -> None:
        """Through the gateway, at the one address of all models, with a key of its own."""
        url = f"{api.url}/v1/chat/completions"
        step(f"Asking it at {url}")
        self.caller_key = str(api.post("/api/api-keys", {"name": "demo", "role": "caller"})["key"])
        say(f"[dim](API key {self.caller_key}; the worker dialed the gateway, and listens on nothing)[/]")
        say(f"[bold]{escape(prompt)}[/]")
        answer = self._answer(url, deployment["served_model_name"], prompt)
        text = answer.json()["choices"][0]["message"]["content"]
        say(*(f"[green]│[/] {escape(line)}" for line in text.strip().splitlines()))

    def _answer(self, url: str, model: str, prompt: str) -> requests.Response:
        """The gateway learns of a key and of a model by polling, so the first questions may come too early."""
        session = requests.Session()
        session.trust_env = False  # no proxy lies between this machine and itself
        body = {"model": model, "messages": [{"role": "user", "content": prompt}], "max_tokens": 128}
        for _ in attempts(START_SECONDS):
            self._stage.check()
            headers = {"Authorization": f"Bearer {self.caller_key}"}
            answer = session.post(url, headers=headers, json=body, timeout=300)
            if answer.ok:
                return answer
            if answer.status_code not in (401, 404, 503):
                break
        raise DemoFailed(f"the model answered {answer.status_code}: {answer.text[:500]}", "agent")

    def show_host(self, api: Api, worker: str, deployment: dict[str, Any]) -> None:
        step("What the control plane sees of it")
        logs = api.wait_for(f"/api/deployments/{deployment['deployment_id']}/logs", {"lines": 6})["logs"]
        for line in logs.splitlines()[-6:]:
            say(f"log   [dim]{escape(line)}[/]")
        disk = api.wait_for(f"/api/workers/{worker}/storage/disk")
        say(f"disk  {disk['free'] / 1e9:.1f} GB free of {disk['total'] / 1e9:.1f} GB")
        if self._host.engine == "docker":
            for image in api.wait_for(f"/api/workers/{worker}/images")["images"]:
                say(f"image {', '.join(image['tags']) or image['id']}, {image['size'] / 1e9:.2f} GB")
        for container in api.wait_for(f"/api/workers/{worker}/containers")["containers"]:
            if container["ours"]:
                say(f"runs  {escape(container['name'])}, {container['state']}{_process_line(container.get('pid'))}")

    def stop(self) -> None:
        """The model first: an agent that ends leaves its models running on purpose."""
        step("Cleaning up")
        try:
            if self._api:
                stop_deployments(self._api)
                if self._host.engine == "docker":
                    for worker in self._api.get("/api/workers")["workers"]:
                        remove_containers(worker["worker_id"])
        except (DemoFailed, requests.RequestException, DockerException) as error:
            say(f"[yellow]the model could not be stopped in order, so it is killed:[/] {escape(str(error))}")


def stop_deployments(api: Api) -> None:
    for deployment in api.get("/api/deployments")["deployments"]:
        path = f"/api/deployments/{deployment['deployment_id']}"
        api.post(f"{path}/stop", None)
        for _ in attempts(STOP_SECONDS):
            if api.get(path)["status"] in ("stopped", "error"):
                break


def _status_line(deployment: dict[str, Any]) -> str:
    progress = deployment["progress"] or {}
    done = f" {100 * progress['current'] // progress['total']} %" if progress.get("total") else ""
    phase = f" ({progress['phase']}{done})" if progress else ""
    message = f": {escape(deployment['message'])}" if deployment["message"] else ""
    return f"[cyan]{deployment['status']}[/]{phase}{message}"


def _why(deployment: dict[str, Any]) -> str:
    crash = deployment["last_crash"] or {}
    logs = "\n".join(crash.get("logs", "").splitlines()[-25:])
    return f"the deployment failed: {deployment['error_code']}: {deployment['message']}\n{logs}".rstrip()


def _process_line(pid: int | None) -> str:
    """The same process as the operating system shows it."""
    if pid is None or not psutil.pid_exists(pid):
        return ""
    return f"; ps {pid}: [dim]{escape(' '.join(psutil.Process(pid).cmdline())[:200])}[/]"


def step(text: str) -> None:
    console.print(f"\n[bold green]==>[/] [bold]{escape(text)}[/]")


def say(*lines: str) -> None:
    for line in lines:
        console.print(f"    {line}", soft_wrap=True)


def run(stage: Stage, host: Host, model: str, once: bool, check: Check | None = None) -> int:
    """The exit code. `check` looks at the model that runs, known by the name under which it is served."""
    demo = Demo(stage, host, model)
    if not host.real:
        say(
            "[yellow]There is neither vLLM nor a GPU with Docker here. A stand-in answers in vLLM's place:[/]",
            "[yellow]it takes vLLM's flags and has its endpoints, but no model runs.[/]",
        )
    try:
        api = demo.start_control_plane()
        worker = demo.start_agent(api)
        deployment = demo.deploy(api)
        prompt = os.environ.get("PROMPT") or "Say something about " + " ".join(secrets.SystemRandom().sample(WORDS, 4))
        demo.ask(api, deployment, prompt)
        if check:
            check(stage, api, deployment["served_model_name"])
        demo.show_host(api, worker, deployment)
        if not once:
            stay(
                stage,
                f"curl {api.url}/v1/models -H 'Authorization: Bearer {demo.caller_key}'",
                f"muster login {api.url}  [dim](with the API key {demo.key})[/]",
                f"open {api.url}/ in a browser",
            )
    except (DemoFailed, requests.RequestException) as error:
        report(stage, error)
        return 1
    finally:
        ignore_signals()  # what was started goes away first
        demo.stop()
    return 0


def stay(stage: Stage, *examples: str) -> None:
    """Until Ctrl-C, which may come as soon as it is spoken of."""
    with contextlib.suppress(KeyboardInterrupt):
        step("It stays up until Ctrl-C. Try, for example:")
        say(*examples)
        while True:
            stage.check()
            time.sleep(1)


def report(stage: Stage, error: Exception) -> None:
    console.print(f"\n[bold red]The demo failed:[/] {escape(str(error))}", soft_wrap=True)
    if isinstance(error, DemoFailed) and error.log:
        console.print(f"\n[bold]The last lines of the {error.log}'s log:[/]")
        say(*(f"[dim]{escape(line)}[/]" for line in stage.tail(error.log)))


def main() -> int:
    once = os.environ.get("ONCE", "") not in ("", "0")
    code = on_stage(lambda stage: run(stage, look_at_host(), os.environ.get("MODEL") or MODEL, once))
    console.print("Nothing was left behind.")
    return code


if __name__ == "__main__":
    sys.exit(main())
