"""The demo with a real vLLM on CPU, which serves a tiny random model that it makes first; `make e2e-vllm`.

    python -m infra.e2e_vllm VLLM_PYTHON [IMAGE]

VLLM_PYTHON is the interpreter of an environment with infra/vllm-cpu-requirements.txt in it. With an IMAGE
(infra/vllm-cpu.Dockerfile) vLLM runs in a container of it, else as a child of the agent. Its answers come through the
gateway, and what they cost has to be counted (infra/e2e_checks.py).
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys

from infra.demo import Host, run, say, step
from infra.demo_stage import PROJECT, Stage, on_stage
from infra.e2e_checks import check

SERVER = "vllm.entrypoints.openai.api_server"
"""The module: the program `vllm` does not start from the CPU build, whose distribution has another name. Unlike that
program it takes its model by flag alone.
"""

CONFIG = {"enforce_eager": True, "max_model_len": 256, "dtype": "float32", "served_model_name": "tiny"}
ENVIRONMENT = {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"}
"""The first in GiB. Nothing is fetched: the model is there."""


def main(python: str, image: str | None = None) -> int:
    """The exit code."""
    os.environ |= {"CONFIG": json.dumps(CONFIG), "PROMPT": "w7 w8 w9", **ENVIRONMENT}
    code = on_stage(lambda stage: _served(stage, python, image))
    say("Nothing was left behind.")
    return code


def _served(stage: Stage, python: str, image: str | None) -> int:
    step("Making a model of two random layers")
    model = stage.path / "tiny"
    made = subprocess.run([python, str(PROJECT / "infra" / "tiny_model.py"), str(model)], check=False)
    if made.returncode:
        say(f"[bold red]The model could not be made:[/] {python} ended with exit code {made.returncode}")
        return 1
    return run(stage, as_container(image) if image else as_child(python), str(model), once=True, check=check)


def as_child(python: str) -> Host:
    command = shlex.join(["sh", "-c", f'exec {shlex.quote(python)} -m {SERVER} --model "$0" "$@"'])
    return Host("process", ("--engine", "process", "--vllm-command", command), 0, real=True)


def as_container(image: str) -> Host:
    return Host("docker", ("--engine", "docker", "--allow-image", image), 0, real=True, image=image, env=ENVIRONMENT)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
