"""Which settings choose code or other hosts, and which are what people use every day."""

from __future__ import annotations

import json
from typing import Any

import pytest

from muster_agent.backends.remote_code import chosen_by_config, chosen_by_variable

CODE: list[tuple[dict[str, Any], str]] = [
    ({"kv_transfer_config": {"kv_connector_module_path": "evil.mod"}}, "kv_transfer_config.kv_connector_module_path"),
    ({"kv_transfer_config": '{"kv_connector_module_path": "evil"}'}, "kv_connector_module_path"),
    ({"kv-transfer-config.kv_connector_module_path": "evil"}, "kv-transfer-config.kv_connector_module_path"),
    ({"kv_transfer_config": {"kv_connector": "EvilConnector", "kv_role": "kv_both"}}, "kv_connector"),
    ({"kv_transfer_config": {"kv_connector": "NixlConnector", "kv_ip": "203.0.113.1"}}, "kv_ip"),
    (
        {
            "kv_transfer_config": {
                "kv_connector": "OffloadingConnector",
                "kv_connector_extra_config": {"spec_module_path": "x"},
            }
        },
        "kv_connector_extra_config.spec_module_path",
    ),
    (
        {
            "kv_transfer_config": {
                "kv_connector": "MultiConnector",
                "kv_connector_extra_config": {"connectors": [{"kv_connector_module_path": "evil"}]},
            }
        },
        "connectors[0].kv_connector_module_path",
    ),
    ({"extra_args": ["--kv-transfer-config", '{"kv_connector_module_path": "evil"}']}, "kv_connector_module_path"),
    ({"extra_args": ['--kv_transfer_config={"kv_connector_module_path": "evil"}']}, "kv_connector_module_path"),
    ({"extra_args": ["--kv-transfer-config.kv_connector_module_path", "evil"]}, "kv_connector_module_path"),
    ({"extra_args": ["--kv-transfer-config.kv_connector_module_path=evil"]}, "kv_connector_module_path"),
    ({"extra_args": ["--kv-transfer", '{"kv_connector": "LMCacheConnectorV1"}']}, "kv-transfer.kv_connector"),
    ({"kv_transfer_config": '{"kv_connector": "evil.C", "kv_connector": "NixlConnector"}'}, "kv_connector"),
    ({"ec_transfer_config": {"ec_connector_module_path": "evil"}}, "ec_transfer_config.ec_connector_module_path"),
    ({"kv_events_config": {"endpoint": "tcp://203.0.113.1:1"}}, "kv_events_config.endpoint"),
    ({"distributed_executor_backend": "evil.Executor"}, "distributed_executor_backend"),
    ({"distributed_executor_backend": "Evil"}, "distributed_executor_backend"),
    ({"distributed-executor-backend": "evil.mod:Executor"}, "distributed-executor-backend"),
    ({"extra_args": ["--distributed-executor", "evil.Executor"]}, "distributed-executor"),
    ({"worker_cls": "evil.Worker"}, "worker_cls"),
    ({"worker_extension_cls": "evil.Extension"}, "worker_extension_cls"),
    ({"scheduler_cls": "evil"}, "scheduler_cls"),
    ({"logits_processors": ["evil:Processor"]}, "logits_processors"),
    ({"logits_processor_pattern": ".*"}, "logits_processor_pattern"),
    ({"middleware": ["evil.Middleware"]}, "middleware"),
    ({"tool_parser_plugin": "x.py"}, "tool_parser_plugin"),
    ({"reasoning_parser_plugin": "x.py"}, "reasoning_parser_plugin"),
    ({"io_processor_plugin": "evil"}, "io_processor_plugin"),
    ({"some_new_plugin": "evil"}, "some_new_plugin"),
    ({"some_new_cls": "evil"}, "some_new_cls"),
    ({"some_new_backend": "evil.mod.Class"}, "some_new_backend"),
    ({"some_new_config": {"a": 1}}, "some_new_config.a"),
    ({"some_new_config": '[{"a": 1}]'}, "some_new_config[0].a"),
    ({"additional_config": {"anything": 1}}, "additional_config.anything"),
    ({"compilation_config": {"inductor_passes": {"post": "evil.pass"}}}, "compilation_config.inductor_passes"),
    ({"compilation_config": {"inductor_compile_config": {"a": 1}}}, "inductor_compile_config"),
    ({"compilation_config": {"backend": "evil.backend"}}, "compilation_config.backend"),
    ({"compilation_config": {"cache_dir": "/tmp/x"}}, "compilation_config.cache_dir"),
    ({"extra_args": ["-O.backend=evil.backend"]}, "compilation-config.backend"),
    ({"extra_args": ['-O{"backend": "evil.backend"}']}, "compilation-config.backend"),
    ({"extra_args": ["-cc.backend", "evil.backend"]}, "compilation-config.backend"),
    ({"hf_overrides": {"auto_map": {"AutoConfig": "evil.Config"}}}, "hf_overrides.auto_map"),
    ({"hf_overrides": {"text_config": {"auto_map": {}}}}, "hf_overrides.text_config.auto_map"),
    ({"speculative_config": {"method": "custom_class", "model": "org/m"}}, "speculative_config.method"),
    ({"speculative_config": {"model": "org/m", "code_revision": "x"}}, "speculative_config.code_revision"),
    ({"extra_args": ["-sc.method=custom_class"]}, "speculative-config.method"),
    ({"structured_outputs_config": {"reasoning_parser_plugin": "x.py"}}, "reasoning_parser_plugin"),
    ({"structured_outputs_config": {"backend": "evil.Backend"}}, "structured_outputs_config.backend"),
    ({"model_loader_extra_config": {"tensorizer_uri": "http://x"}}, "model_loader_extra_config.tensorizer_uri"),
    ({"profiler_config": {"torch_profiler_dir": "/tmp"}}, "profiler_config.torch_profiler_dir"),
    ({"attention_backend": "evil.attention.Backend"}, "attention_backend"),
    ({"log_config_file": "x.json"}, "log_config_file"),
    ({"master_addr": "203.0.113.1"}, "master_addr"),
    ({"nnodes": 2, "node_rank": 1, "headless": True}, "nnodes"),
    ({"data_parallel_address": "203.0.113.1"}, "data_parallel_address"),
    ({"extra_args": ["-dpa", "203.0.113.1"]}, "data-parallel-address"),
    ({"extra_args": ["-n", "2"]}, "nnodes"),
    ({"tool_server": "203.0.113.1:80"}, "tool_server"),
]


@pytest.mark.parametrize(("config", "setting"), CODE, ids=str)
def test_a_setting_that_chooses_code_or_a_host_is_named(config: dict[str, Any], setting: str) -> None:
    said = chosen_by_config(config, may_bring_code=True)
    assert said is not None
    assert setting in said.partition(": is not")[0]
    assert said.startswith("config.")


HARMLESS: list[dict[str, Any]] = [
    {"max_model_len": 32768, "gpu_memory_utilization": "0.92", "dtype": "bfloat16", "kv_cache_dtype": "fp8_e4m3"},
    {
        "quantization": "awq_marlin",
        "load_format": "runai_streamer",
        "tokenizer_mode": "mistral",
        "config_format": "mistral",
    },
    {"served_model_name": ["Qwen2.5-7B", "meta.llama"], "tokenizer": "org/Model.v2", "revision": "refs.pr.1"},
    {"port": 8000, "seed": 0, "no_such_flag": "any-value", "other_flag": 1.5, "third": None, "fourth": ["a", "b"]},
    {"distributed_executor_backend": "mp"},
    {"distributed_executor_backend": "ray", "pipeline_parallel_size": 2},
    {"enable_auto_tool_choice": True, "tool_call_parser": "hermes", "reasoning_parser": "deepseek_r1"},
    {"chat_template": "{%- for m in messages %}{{ m.content }}{%- endfor %}", "chat_template_content_format": "openai"},
    {"chat_template": "template.jinja", "generation_config": "vllm", "allowed_origins": ["*"]},
    {"enable_lora": True, "lora_modules": ["sql-lora=/data/sql", "abc=org/abc"], "max_lora_rank": 64},
    {"lora_modules": ['{"name": "sql", "path": "org/sql", "base_model_name": "org/m"}']},
    {"lora_modules": [{"name": "sql", "path": "org/sql"}]},
    {"speculative_config": {"method": "ngram", "num_speculative_tokens": 5, "prompt_lookup_max": 4}},
    {
        "speculative_config": {
            "model": "yuhuili/EAGLE3-LLaMA3.1-8B",
            "method": "eagle3",
            "draft_tensor_parallel_size": 1,
        }
    },
    {"speculative-config.method": "mtp", "speculative-config.num_speculative_tokens": 3},
    {"extra_args": ["--speculative-config.method", "mtp", "--speculative-config.num_speculative_tokens", "3"]},
    {"extra_args": ["--speculative-config", '{"method": "suffix", "num_speculative_tokens": 8}']},
    {"kv_transfer_config": {"kv_connector": "LMCacheConnectorV1", "kv_role": "kv_both"}},
    {
        "kv_transfer_config": {
            "kv_connector": "OffloadingConnector",
            "kv_role": "kv_both",
            "kv_connector_extra_config": {"num_cpu_blocks": 1000, "block_size": 64},
        }
    },
    {
        "kv_transfer_config": {
            "kv_connector": "MultiConnector",
            "kv_role": "kv_both",
            "kv_connector_extra_config": {"connectors": [{"kv_connector": "NixlConnector", "kv_role": "kv_both"}]},
        }
    },
    {"compilation_config": 3},
    {"compilation_config": {"cudagraph_mode": "FULL_AND_PIECEWISE", "custom_ops": ["+rms_norm", "none"], "level": 3}},
    {"compilation_config": {"pass_config": {"fuse_allreduce_rms": True}, "cudagraph_capture_sizes": [1, 2, 4]}},
    {"compilation_config": {"splitting_ops": ["vllm.unified_attention"]}},
    {"extra_args": ["-O3", "-tp", "2", "--seed=3", "--no-enable-prefix-caching"]},
    {"extra_args": ["-O", "3", "-dp", "2", "-cc.cudagraph_mode=PIECEWISE", "-q", "fp8"]},
    {"hf_overrides": {"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}}},
    {"hf_overrides": {"architectures": ["Qwen3ForSequenceClassification"], "classifier_from_token": ["no", "yes"]}},
    {"hf_overrides": {"text_config": {"rope_parameters": {"rope_type": "yarn", "factor": 2}}}},
    {"rope_scaling": '{"rope_type":"yarn","factor":4.0,"original_max_position_embeddings":32768}'},
    {"limit_mm_per_prompt": {"image": 4, "video": {"count": 1, "num_frames": 32, "width": 512, "height": 512}}},
    {"limit_mm_per_prompt": "image=4,video=2"},
    {"mm_processor_kwargs": {"min_pixels": 784, "max_pixels": 1003520, "fps": 1, "size": {"shortest_edge": 1}}},
    {"media_io_kwargs": {"video": {"num_frames": -1, "fps": 2}}},
    {"override_generation_config": {"temperature": 0.6, "top_p": 0.95}},
    {"override_pooler_config": {"pooling_type": "MEAN", "normalize": True}},
    {"pooler_config": {"seq_pooling_type": "CLS", "use_activation": False}},
    {"default_chat_template_kwargs": {"enable_thinking": False}},
    {"structured_outputs_config": {"backend": "xgrammar", "reasoning_parser": "qwen3"}},
    {"guided_decoding_backend": "xgrammar:disable-any-whitespace"},
    {"model_loader_extra_config": {"concurrency": 16, "enable_multithread_load": True, "num_threads": 8}},
    {"attention_config": {"backend": "FLASHINFER"}, "attention_backend": "FLASH_ATTN"},
    {"eplb_config": {"window_size": 1000, "num_redundant_experts": 2}, "enable_eplb": True},
    {"worker_cls": False, "middleware": None, "additional_config": {}},
    {"show_hidden_metrics_for_version": "0.7", "otlp_traces_endpoint": "collector.example:4317", "root_path": "/v2"},
    {
        "cpu_offload_gb": 4,
        "swap_space": 8,
        "scheduling_policy": "priority",
        "async_scheduling": True,
        "mm_encoder_tp_mode": "data",
    },
    {"trust_remote_code": True, "code_revision": "main"},
]


@pytest.mark.parametrize("config", HARMLESS, ids=str)
def test_what_people_use_passes(config: dict[str, Any]) -> None:
    assert chosen_by_config(config, may_bring_code=True) is None
    objects = {key: json.dumps(value) if isinstance(value, dict) else value for key, value in config.items()}
    assert chosen_by_config(objects, may_bring_code=True) is None


@pytest.mark.parametrize("name", ["trust_remote_code", "trust-remote-code", "trust_remote"])
def test_code_that_the_model_brings_is_a_matter_of_its_own(name: str) -> None:
    assert chosen_by_config({name: True}, may_bring_code=True) is None
    assert chosen_by_config({name: True}, may_bring_code=False) is not None
    assert chosen_by_config({"extra_args": [f"--{name}"]}, may_bring_code=False) is not None
    assert chosen_by_config({name: False}, may_bring_code=False) is None


VARIABLES = [
    *(
        "RAY_ADDRESS",
        "RAY_RUNTIME_ENV_HOOK",
        "VLLM_PLUGINS",
        "VLLM_USE_RAY_SPMD_WORKER",
        "VLLM_HOST_IP",
        "VLLM_DP_MASTER_IP",
    ),
    *("VLLM_NCCL_SO_PATH", "VLLM_CUDART_SO_PATH", "VLLM_LOGGING_CONFIG_PATH", "VLLM_CONFIG_ROOT", "VLLM_CACHE_ROOT"),
    *(
        "VLLM_ALLOW_INSECURE_SERIALIZATION",
        "VLLM_SERVER_DEV_MODE",
        "VLLM_MODEL_REDIRECT_PATH",
        "VLLM_NIXL_SIDE_CHANNEL_HOST",
    ),
    *(
        "VLLM_LORA_RESOLVER_CACHE_DIR",
        "VLLM_USAGE_STATS_SERVER",
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING",
        "VLLM_RPC_BASE_PATH",
    ),
    *(
        "PYTHONPATH",
        "PYTHONSTARTUP",
        "PYTHONINSPECT",
        "PYTHONHOME",
        "LD_PRELOAD",
        "PATH",
        "BASH_ENV",
        "CC",
        "CXX",
        "NVCC",
    ),
    *(
        "NCCL_COMM_ID",
        "NCCL_SOCKET_IFNAME",
        "NCCL_NET_PLUGIN",
        "NCCL_TUNER_PLUGIN",
        "NCCL_CONF_FILE",
        "GLOO_SOCKET_IFNAME",
    ),
    *(
        "MASTER_ADDR",
        "MASTER_PORT",
        "RANK",
        "WORLD_SIZE",
        "TORCHELASTIC_RUN_ID",
        "TRITON_CACHE_DIR",
        "TORCHINDUCTOR_CACHE_DIR",
    ),
    *(
        "TORCH_EXTENSIONS_DIR",
        "TORCH_DEVICE_BACKEND_AUTOLOAD",
        "TRITON_PTXAS_PATH",
        "CUDA_HOME",
        "CUDA_INJECTION64_PATH",
    ),
    *("HF_HOME", "HF_MODULES_CACHE", "HF_TOKEN_PATH", "TRANSFORMERS_CACHE", "XDG_CACHE_HOME", "HOME", "TMPDIR"),
    *("AWS_CONFIG_FILE", "GIT_SSH_COMMAND", "PIP_INDEX_URL", "LMCACHE_REMOTE_URL", "LMCACHE_CONFIG_FILE", "GCONV_PATH"),
    *("SSLKEYLOGFILE", "OMP_TOOL_LIBRARIES", "SOMETHING_NEW", "A", "vllm_use_v1"),
]


OF_AN_IMAGE = {"SOMETHING_NEW", "A", "vllm_use_v1", "HOME"}


@pytest.mark.parametrize("in_container", [True, False])
@pytest.mark.parametrize("name", VARIABLES)
def test_a_variable_that_is_not_known_to_be_harmless_is_named(name: str, in_container: bool) -> None:
    said = chosen_by_variable(name, "1", in_container=in_container)
    if in_container and name in OF_AN_IMAGE:
        assert said is None
    else:
        assert str(said).startswith(f"env.{name}: ")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            (name, "1")
            for name in ("VLLM_USE_V1", "VLLM_SKIP_P2P_CHECK", "VLLM_USE_FLASHINFER_MOE_FP4", "VLLM_NO_USAGE_STATS")
        ),
        *((name, "1") for name in ("VLLM_ALLOW_LONG_MAX_MODEL_LEN", "VLLM_CPU_KVCACHE_SPACE", "VLLM_MLA_DISABLE")),
        *(
            (name, "1")
            for name in ("HF_HUB_OFFLINE", "HF_HUB_ENABLE_HF_TRANSFER", "HF_HUB_DISABLE_XET", "DO_NOT_TRACK")
        ),
        *((name, "1") for name in ("NCCL_P2P_DISABLE", "NCCL_IB_DISABLE", "NCCL_CUMEM_ENABLE", "CUDA_LAUNCH_BLOCKING")),
        *(
            (name, "8")
            for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "VLLM_ENGINE_ITERATION_TIMEOUT_S", "MAX_JOBS")
        ),
        ("VLLM_LOGGING_LEVEL", "DEBUG"),
        ("VLLM_ATTENTION_BACKEND", "FLASHINFER"),
        ("VLLM_WORKER_MULTIPROC_METHOD", "spawn"),
        ("VLLM_CPU_OMP_THREADS_BIND", "0-7|8-15"),
        ("VLLM_API_KEY", "sk.a.b"),
        ("HF_TOKEN", "hf_x"),
        ("HUGGING_FACE_HUB_TOKEN", "hf_x"),
        ("AWS_SECRET_ACCESS_KEY", "a/b"),
        ("AWS_DEFAULT_REGION", "eu-central-1"),
        ("MY_SECRET", "x"),
        ("HF_ENDPOINT", "https://mirror.example/hf"),
        ("https_proxy", "http://proxy.example:3128"),
        ("NO_PROXY", "localhost.localdomain"),
        ("NCCL_DEBUG", "INFO"),
        ("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True,max_split_size_mb:512"),
        ("TORCH_CUDA_ARCH_LIST", "8.0;9.0+PTX"),
        ("CUDA_DEVICE_ORDER", "PCI_BUS_ID"),
        ("TOKENIZERS_PARALLELISM", "false"),
        ("LC_ALL", "C.UTF8"),
        ("TZ", "Europe/Berlin"),
        ("SSL_CERT_FILE", "/etc/ssl/certs/own.pem"),
        ("STANDIN_LOAD_SECONDS", "0.1"),
    ],
)
def test_variables_that_people_use_pass(name: str, value: str) -> None:
    assert chosen_by_variable(name, value, in_container=False) is None
    assert chosen_by_variable(name, value, in_container=True) is None


@pytest.mark.parametrize("value", ["evil.module.Class", "evil.module:Class", "http://203.0.113.1"])
def test_a_harmless_variable_holds_no_class_and_no_address(value: str) -> None:
    assert chosen_by_variable("VLLM_ATTENTION_BACKEND", value, in_container=True) is not None
