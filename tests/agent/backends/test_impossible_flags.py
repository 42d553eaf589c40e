"""Flags that no deployment can have: refused with the reason and with what to do instead."""

from __future__ import annotations

from typing import Any

import pytest

from muster_agent.backends.impossible_flags import check_possible
from muster_agent.engines.base import EngineError

IMPOSSIBLE: list[tuple[dict[str, Any], str, str]] = [
    ({"nnodes": 2}, "config.nnodes", "one deployment is one container"),
    ({"nnodes": "2"}, "config.nnodes", "one deployment is one container"),
    ({"node-rank": 1}, "config.node-rank", "one deployment is one container"),
    ({"headless": True}, "config.headless", "one deployment is one container"),
    ({"master_addr": "10.0.0.1"}, "config.master_addr", "one deployment is one container"),
    ({"extra_args": ["--nnodes", "2"]}, "--nnodes", "one deployment is one container"),
    ({"extra_args": ["--nnodes=2"]}, "--nnodes", "one deployment is one container"),
    ({"extra_args": ["-n", "2"]}, "nnodes", "one deployment is one container"),
    ({"extra_args": ["-r", "1"]}, "node-rank", "one deployment is one container"),
    ({"extra_args": ["--head"]}, "--head", "one deployment is one container"),
    ({"extra_args": ["--node_rank=1"]}, "--node_rank", "one deployment is one container"),
    ({"data_parallel_address": "10.0.0.1"}, "config.data_parallel_address", "one deployment is one container"),
    ({"data_parallel_rank": 0}, "config.data_parallel_rank", "one deployment is one container"),
    ({"data_parallel_start_rank": 4}, "config.data_parallel_start_rank", "one deployment is one container"),
    ({"data_parallel_size": 4, "data_parallel_size_local": 2}, "data_parallel_size_local", "one container"),
    ({"extra_args": ["-dpl", "0"]}, "data-parallel-size-local", "one deployment is one container"),
    ({"data_parallel_external_lb": True}, "config.data_parallel_external_lb", "one deployment is one container"),
    ({"extra_args": ["-dph"]}, "data-parallel-hybrid-lb", "one deployment is one container"),
    ({"distributed_executor_backend": "external_launcher"}, "distributed_executor_backend", "one container"),
    ({"ssl_keyfile": "/certs/key.pem"}, "config.ssl_keyfile", "put TLS before"),
    ({"ssl-certfile": "/certs/cert.pem"}, "config.ssl-certfile", "put TLS before"),
    ({"ssl_ca_certs": "x"}, "config.ssl_ca_certs", "put TLS before"),
    ({"ssl_cert_reqs": 1}, "config.ssl_cert_reqs", "put TLS before"),
    ({"ssl_ciphers": "x"}, "config.ssl_ciphers", "put TLS before"),
    ({"enable_ssl_refresh": True}, "config.enable_ssl_refresh", "put TLS before"),
    ({"extra_args": ["--ssl-keyfile", "x"]}, "--ssl-keyfile", "put TLS before"),
    ({"extra_args": ["--ssl_key=x"]}, "--ssl_key", "put TLS before"),
    ({"host": "0.0.0.0"}, "config.host", "--address"),
    ({"uds": "/x"}, "config.uds", "TCP"),
    ({"grpc": True}, "config.grpc", "HTTP"),
    ({"extra_args": ["--port", "9000"]}, "--port", "config.port"),
    ({"config": "x.yaml"}, "config.config", "give the flags themselves"),
    ({"config.x": 1}, "config.config", "give the flags themselves"),
    ({"api_key": "x"}, "config.api_key", "to keep a key of your own, set env VLLM_API_KEY"),
    ({"entrypoint": "bash"}, "config.entrypoint", "config.container_entrypoint"),
    ({"volumes": ["/a:/a"]}, "config.volumes", "config.container_mounts"),
    ({"network": "host"}, "config.network", "config.container_network"),
    ({"container_volumes": []}, "config.container_volumes", "container_mounts"),
    ({"container.network": "host"}, "config.container.network", "container_network"),
]


@pytest.mark.parametrize(("config", "where", "advice"), IMPOSSIBLE, ids=str)
def test_a_flag_that_cannot_be_set_is_refused_with_what_to_do_instead(
    config: dict[str, Any], where: str, advice: str
) -> None:
    with pytest.raises(EngineError) as raised:
        check_possible(config)
    assert raised.value.error_code == "INVALID_CONFIG"
    assert raised.value.message.startswith("config.")
    assert where in raised.value.message and advice in raised.value.message


@pytest.mark.parametrize(
    "config",
    [
        {"nnodes": 1, "node_rank": "0", "headless": False, "master_addr": "127.0.0.1"},
        {"extra_args": ["--nnodes=1", "-r", "0"]},
        {"data_parallel_size": 2, "data_parallel_size_local": 2, "data_parallel_backend": "mp"},
        {"data_parallel_start_rank": 0, "distributed_executor_backend": "ray", "pipeline_parallel_size": 2},
        {"model_impl": "auto", "hf_overrides": {}, "config_format": "hf", "enable_ssl_refresh": False, "device": "cpu"},
        {"container_network": "host", "container-mounts": []},
        {"no_enable_prefix_caching": True},
    ],
    ids=str,
)
def test_what_means_one_node_or_only_begins_alike_is_possible(config: dict[str, Any]) -> None:
    check_possible(config)


@pytest.mark.parametrize(
    ("config", "gpus", "wanted"),
    [
        ({"tensor_parallel_size": 16}, 8, 16),
        ({"tensor_parallel_size": "4", "pipeline_parallel_size": 2}, 4, 8),
        ({"extra_args": ["-tp", "2", "-dp=2"]}, 2, 4),
        ({"tensor_parallel_size": 2}, 2, None),
        ({"tensor_parallel_size": 2}, 0, None),
        ({"tensor_parallel_size": "many"}, 1, None),
        ({"tensor_parallel_size": 1}, 4, None),
    ],
)
def test_a_model_is_split_over_no_more_gpus_than_the_deployment_has(
    config: dict[str, Any], gpus: int, wanted: int | None
) -> None:
    if wanted is None:
        check_possible(config, range(gpus))
        return
    with pytest.raises(EngineError, match=f"over {wanted} GPUs, and the deployment has {gpus}") as raised:
        check_possible(config, range(gpus))
    assert raised.value.fix is not None and raised.value.fix.gpus == wanted
