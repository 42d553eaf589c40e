"""What a deployment asks of its container: entry point, mounts, network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from muster_agent.backends.container_settings import Asked, AskedMount, asked, covers_programs
from muster_agent.engines.base import EngineError


def test_without_a_word_nothing_is_asked() -> None:
    assert asked({"max_model_len": 1, "container_network": None, "container_mounts": []}) == Asked()
    assert asked({"container_network": "bridge", "container_entrypoint": []}) == Asked()
    assert Asked().keys == ()


def test_each_key_is_read_in_either_spelling() -> None:
    made = asked(
        {
            "container-network": "host",
            "container_entrypoint": "bash -c 'exec vllm serve \"$@\"' --",
            "container_mounts": ["/data/a:/a:ro", "/data/b:/b//c/", "/data/d:/d:rw"],
        }
    )
    assert made.host_network
    assert made.entrypoint == ("bash", "-c", 'exec vllm serve "$@"', "--")
    assert made.mounts == (
        AskedMount("config.container_mounts[0]", Path("/data/a"), "/a", True),
        AskedMount("config.container_mounts[1]", Path("/data/b"), "/b/c", False),
        AskedMount("config.container_mounts[2]", Path("/data/d"), "/d", False),
    )
    assert made.targets == ("/a", "/b/c", "/d")
    assert made.keys == ("config.container_entrypoint", "config.container_mounts", "config.container_network")
    assert asked({"container_entrypoint": ["python3", "-m", "x y"]}).entrypoint == ("python3", "-m", "x y")
    assert asked({"container_mounts": "/a:/b"}).targets == ("/b",)


@pytest.mark.parametrize(
    "config",
    [
        {"container_network": "none"},
        {"container_network": "container:x"},
        {"container_network": True},
        {"container_network": ["host"]},
        {"container_entrypoint": [1]},
        {"container_entrypoint": {"a": 1}},
        {"container_entrypoint": "'"},
        {"container_entrypoint": ""},
        {"container_entrypoint": [""]},
        {"container_entrypoint": ["a\0"]},
        {"container_mounts": {"/a": "/b"}},
        {"container_mounts": 1},
        {"container_mounts": [1]},
        {"container_mounts": ["/a"]},
        {"container_mounts": ["/a:/b:z"]},
        {"container_mounts": ["/a:/b:ro:rw"]},
        {"container_mounts": ["a:/b"]},
        {"container_mounts": ["/a:b"]},
        {"container_mounts": ["volume:/b"]},
        {"container_mounts": ["/a:/"]},
        {"container_mounts": ["/a:/x/.."]},
        {"container_mounts": ["/a:/proc/x"]},
        {"container_mounts": ["/a:/dev"]},
        {"container_mounts": ["/a:/sys"]},
        {"container_mounts": ["/a:/b", "/c:/b"]},
        {"container_mounts": ["/a:/b\0"]},
        {"container_mounts": ["/a:/root/.cache/huggingface"]},
        {"container_mounts": ["/a:/root/.cache/huggingface/hub/models--a"]},
        {"container_mounts": ["/a:/root/.cache"]},
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_by_its_key(config: dict[str, Any]) -> None:
    with pytest.raises(EngineError, match=rf"config\.{next(iter(config))}") as raised:
        asked(config)
    assert raised.value.error_code == "INVALID_CONFIG"


@pytest.mark.parametrize(
    ("target", "covers"),
    [
        *((each, True) for each in ("/usr/bin", "/etc", "/opt/venv", "/root", "/vllm-workspace", "/lib")),
        *((each, False) for each in ("/data", "/app/lora", "/root/.cache/vllm", "/tmp/x", "/weights", "/models")),
    ],
)
def test_a_mount_among_the_programs_of_an_image_is_known(target: str, covers: bool) -> None:
    assert covers_programs(target) is covers
