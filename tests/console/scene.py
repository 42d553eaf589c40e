"""A fleet worth looking at: seven machines that are played, one that is real, and models in every state."""

from __future__ import annotations

import datetime

from tests.console.players import Fleet, Machine, Model, Player
from tests.fixtures.http_client import Operator

MACHINES = [
    Machine("atlas-01", "NVIDIA H100 80GB HBM3", 8, 80, {"zone": "fra", "tier": "prod"}, {6: 34}),
    Machine("atlas-02", "NVIDIA H100 80GB HBM3", 8, 80, {"zone": "fra", "tier": "prod"}),
    Machine("borealis", "NVIDIA A100-SXM4-40GB", 4, 40, {"zone": "osl"}),
    Machine("cygnus", "NVIDIA L40S", 4, 48, {"zone": "osl", "tier": "dev"}, {2: 21, 3: 40}),
    Machine("draco", "NVIDIA GeForce RTX 4090", 2, 24, {"room": "lab"}),
    Machine("edge-07", "NVIDIA RTX 4000 Ada Generation", 1, 20, {"site": "plant"}),
    Machine("fornax", "NVIDIA A100-SXM4-80GB", 4, 80, {"zone": "fra"}),
]
PULL = {"phase": "downloading", "current": 8_040_000_000, "total": 18_700_000_000, "percent": 43.0, "rate": 182_000_000}
LOAD = {
    "phase": "downloading_weights",
    "current": 31_400_000_000,
    "total": 65_500_000_000,
    "percent": 48,
    "rate": 410_000_000,
}
MODELS = {
    "chat-large": Model(busy=82, share=0.9),
    "reasoning": Model(busy=74, share=0.93),
    "chat-small": Model(busy=41, share=0.86),
    "code": Model(busy=63, share=0.9),
    "embed": Model(busy=22, share=0.35),
    "vision": Model("downloading", progress=PULL, message="Pulling the image"),
    "batch": Model("starting", progress=LOAD, message="Downloading the weights"),
    "legacy": Model(busy=9, share=0.8),
}
DEPLOYMENTS: list[tuple[str, str, str, int]] = [
    ("chat-large", "meta-llama/Llama-3.3-70B-Instruct", "atlas-01", 4),
    ("reasoning", "deepseek-ai/DeepSeek-R1-Distill-Llama-70B", "atlas-02", 8),
    ("chat-small", "Qwen/Qwen3-8B", "borealis", 1),
    ("code", "Qwen/Qwen3-Coder-30B-A3B-Instruct", "atlas-01", 2),
    ("embed", "BAAI/bge-m3", "cygnus", 1),
    ("vision", "Qwen/Qwen2.5-VL-32B-Instruct", "borealis", 2),
    ("batch", "Qwen/Qwen3-32B", "cygnus", 1),
    ("legacy", "mistralai/Mistral-7B-Instruct-v0.3", "fornax", 1),
]
CALLERS = {"assistant-web": 52_000, "code-review": 31_000, "search": 24_000, "night-batch": 9_000}
"""Keys of callers, with the requests of each in a day."""
WEEK = [0.71, 0.83, 0.78, 0.92, 0.41, 0.38, 0.64]
"""How much of that was asked on each of the last days."""


def play(url: str, token: str, operator: Operator) -> Fleet:
    """The played part of it, under way."""
    fleet = Fleet([Player(url, token, machine, MODELS) for machine in MACHINES])
    fleet.start()
    ids = {player.name: player.worker_id for player in fleet.players}
    for name, model, worker, gpus in DEPLOYMENTS:
        body = {"model": model, "name": name, "worker_id": ids[worker], "gpus": gpus}
        config = {"max_model_len": 32768, "gpu_memory_utilization": 0.9}
        made = operator.post("/api/deployments", body | {"config": config}).expect(201)
        fleet.names[made["deployment_id"]] = name
    operator.post("/api/deployments", {"model": "meta-llama/Llama-3.1-405B", "name": "giant", "gpus": 16}).expect(201)
    operator.patch(f"/api/workers/{ids['fornax']}", {"draining": True}).expect(200)
    fleet.leave("edge-07")
    return fleet


def use(url: str, operator: Operator) -> None:
    """Callers used models in the last seven days, at a gateway that is registered."""
    key = operator.post("/api/api-keys", {"name": "edge", "role": "gateway"}).expect(201)["key"]
    gateway = Operator(url, key)
    gateway.post("/api/gateways", {"url": "https://models.example.com", "version": "0.2.0"}).expect(200)
    today = datetime.datetime.now(datetime.timezone.utc).date()
    sums = []
    for name, daily in CALLERS.items():
        body = {"name": name, "role": "caller", "models": ["Qwen/Qwen3-8B"], "rpm": daily // 100}
        key_id = operator.post("/api/api-keys", body).expect(201)["key_id"]
        for at, share in enumerate(WEEK):
            requests = int(daily * share)
            day = str(today - datetime.timedelta(len(WEEK) - 1 - at))
            tokens = {"prompt_tokens": requests * 812, "completion_tokens": requests * 264}
            sums.append({"key_id": key_id, "model": "Qwen/Qwen3-8B", "day": day, "requests": requests, **tokens})
    gateway.post("/api/gateway/usage", {"ledger_id": "edge", "sums": sums}).expect(200)
