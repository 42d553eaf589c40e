"""Settings of vLLM that choose neither which code runs nor which other hosts a model talks to: tables, which
`remote_code` reads.

Flags with one value pass unless they are in CODE_FLAGS, and unless their value is the path of a Python class. What is
nested in a flag and what is in the environment passes only if it is listed here: vLLM adds settings with each release,
and many of them name a module, a class, a file with code, or an address. The names are those of vLLM 0.6 to 0.32,
PyTorch, NCCL, Triton, and huggingface_hub.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias


class Value(Enum):
    """What a harmless setting may hold."""

    PLAIN = "a number, a word, or a list of them, but no path of a Python class"
    TEXT = "any text: a name or a prompt, which nothing imports"


@dataclass(frozen=True)
class OneOf:
    """One of these words, in any case, or a number. Other words could be the names of classes."""

    words: frozenset[str]


Listed: TypeAlias = "Value | OneOf | Mapping[str, Listed]"
"""A value, or an object with these keys."""

PLAIN, TEXT = Value.PLAIN, Value.TEXT

REMOTE_CODE_FLAG = "trust-remote-code"
"""Code that the model brings. A container holds it; other code is chosen by who deploys, not by the model."""
CODE_FLAGS = (
    *("middleware", "logits-processors", "logits-processor-pattern", "worker-cls", "worker-extension-cls"),
    *("scheduler-cls", "tool-parser-plugin", "reasoning-parser-plugin", "io-processor-plugin"),
    *("log-config-file", "logging-config"),
)
"""Flags by which vLLM runs code that is not its own, however plain their value looks."""
WHOLE_FLAGS = frozenset({"reasoning-parser"})
"""Flags with which one of CODE_FLAGS begins. argparse takes every other beginning of a flag for the flag."""
CODE_FLAG = re.compile(r"(?!lora-modules$).+-(?:plugins?|cls|class|classes|modules?|module-path|entrypoint)", re.ASCII)
"""How such flags of later releases will be named."""
HOST_FLAGS = (
    *("master-addr", "nnodes", "node-rank", "headless", "tool-server"),
    *("data-parallel-address", "data-parallel-hybrid-lb", "data-parallel-external-lb"),
)
"""Flags that make a model part of something on other hosts, which can send it objects to unpickle."""
SHORT_FLAGS = {
    "-tp": "tensor-parallel-size",
    "-pp": "pipeline-parallel-size",
    "-dp": "data-parallel-size",
    "-dpn": "data-parallel-rank",
    "-dpr": "data-parallel-start-rank",
    "-dpl": "data-parallel-size-local",
    "-dpa": "data-parallel-address",
    "-dpp": "data-parallel-rpc-port",
    "-dpb": "data-parallel-backend",
    "-dph": "data-parallel-hybrid-lb",
    "-dpe": "data-parallel-external-lb",
    "-dcp": "decode-context-parallel-size",
    "-pcp": "prefill-context-parallel-size",
    "-ep": "enable-expert-parallel",
    "-cc": "compilation-config",
    "-sc": "speculative-config",
    "-ac": "attention-config",
    "-O": "compilation-config",
    "-q": "quantization",
    "-n": "nnodes",
    "-r": "node-rank",
}


def _plain(names: str) -> dict[str, Listed]:
    return dict.fromkeys(names.split(), PLAIN)


def _text(names: str) -> dict[str, Listed]:
    return dict.fromkeys(names.split(), TEXT)


def _one_of(words: str) -> OneOf:
    return OneOf(frozenset(words.split()))


_ROPE: dict[str, Listed] = _plain(
    "rope_type type factor original_max_position_embeddings rope_theta beta_fast beta_slow mscale mscale_all_dim"
    " attention_factor low_freq_factor high_freq_factor short_factor long_factor short_mscale long_mscale mrope_section"
    " mrope_interleaved truncate alpha scaling_factor extrapolation_factor finetuned partial_rotary_factor"
)
_ROPE |= {"full_attention": dict(_ROPE), "sliding_attention": dict(_ROPE)}
_MODALITIES = "image video audio vision_chunk"
_MM_SIZE = _plain("height width shortest_edge longest_edge max_height max_width min_pixels max_pixels")
_MM_PROCESSOR: dict[str, Listed] = {
    **_plain(
        "min_pixels max_pixels num_crops num_frames fps min_frames max_frames total_pixels max_patches do_rescale"
        " do_resize do_normalize do_convert_rgb do_center_crop do_pan_and_scan do_sample_frames use_fast max_slices"
        " max_slice_nums min_dynamic_patch max_dynamic_patch dynamic_image_size use_thumbnail max_image_tiles"
        " patch_size"
        " merge_size temporal_patch_size sampling_rate return_timestamps truncation padding max_length crop_to_patches"
        " pan_and_scan_max_num_crops pan_and_scan_min_crop_size pan_and_scan_min_ratio_to_activate cache_gb device"
        " size_divisor max_num_tiles max_soft_tokens video_pruning_rate add_special_tokens use_audio_in_video"
    ),
    "size": _MM_SIZE,
    "crop_size": _MM_SIZE,
    "images_kwargs": {**_MM_SIZE, "size": _MM_SIZE},
    "videos_kwargs": {**_plain("num_frames fps do_sample_frames"), **_MM_SIZE, "size": _MM_SIZE},
}
_GENERATION = _plain(
    "temperature top_p top_k min_p repetition_penalty presence_penalty frequency_penalty max_tokens max_new_tokens"
    " min_tokens seed do_sample eos_token_id bos_token_id pad_token_id stop_token_ids length_penalty"
)
_POOLER = _plain(
    "pooling_type seq_pooling_type tok_pooling_type normalize softmax activation use_activation step_tag_id dimensions"
    " returned_token_ids enable_chunked_processing max_embed_len logit_bias logit_scale logit_mean logit_sigma task"
)
_HF: dict[str, Listed] = {
    **_plain(
        "architectures model_type max_position_embeddings rope_theta partial_rotary_factor sliding_window"
        " use_sliding_window max_window_layers num_hidden_layers hidden_size intermediate_size num_attention_heads"
        " num_key_value_heads head_dim vocab_size rms_norm_eps tie_word_embeddings torch_dtype dtype num_experts"
        " num_experts_per_tok num_local_experts n_routed_experts moe_intermediate_size norm_topk_prob"
        " topk_group n_group"
        " use_qk_norm attention_bias hidden_act max_model_length model_max_length num_labels classifier_from_token"
        " is_original_qwen3_reranker use_sep_token method use_pad_token is_matryoshka matryoshka_dimensions is_causal"
        " eos_token_id bos_token_id pad_token_id image_token_id video_token_id index_topk index_topk_freq layer_types"
        " max_seq_len problem_type num_nextn_predict_layers quantization attn_temperature_tuning"
        " final_logit_softcapping"
        " attn_logit_softcapping sliding_window_pattern attention_chunk_size use_cache"
    ),
    "rope_scaling": _ROPE,
    "rope_parameters": _ROPE,
}
_HF |= {name: dict(_HF) for name in ("text_config", "vision_config", "audio_config", "thinker_config")}
_KV: dict[str, Listed] = {
    "kv_connector": _one_of(
        "lmcacheconnector lmcacheconnectorv1 lmcachempconnector nixlconnector offloadingconnector"
        " simplecpuoffloadconnector"
        " multiconnector sharedstorageconnector exampleconnector decodebenchconnector"
    ),
    **_plain(
        "kv_role kv_rank kv_parallel_size kv_buffer_size kv_buffer_device engine_id kv_load_failure_policy"
        " enable_permute_local_kv"
    ),
    "kv_connector_extra_config": _plain(
        "cpu_bytes_to_use cpu_bytes_to_use_per_rank num_cpu_blocks block_size block_size_factor eviction_policy"
        " store_threshold lazy_offload kv_lease_duration enable_cross_layers_blocks fill_mean fill_std"
        " discard_partial_chunks use_native lmcache_rpc_port skip_last_n_tokens backends num_threads"
    ),
}
_KV["kv_connector_extra_config"] = {**_KV["kv_connector_extra_config"], "connectors": dict(_KV)}  # type: ignore[dict-item]
_PASSES = _plain(
    "fuse_norm_quant fuse_act_quant fuse_attn_quant eliminate_noops enable_sp fuse_gemm_comms fuse_allreduce_rms"
    " enable_qk_norm_rope_fusion fi_allreduce_fusion_max_size_mb fi_allreduce_fusion_max_token_num sp_min_token_num"
    " enable_fusion enable_noop enable_attn_fusion enable_sequence_parallelism enable_async_tp"
    " enable_fi_allreduce_fusion fuse_act_padding fuse_rope_kvcache rope_kvcache_fusion_max_token_num"
    " fuse_mla_dual_rms_norm enable_rope_kvcache_fusion"
)
_SPECULATIVE: dict[str, Listed] = {
    "method": _one_of(
        "ngram ngram_gpu medusa mlp_speculator draft_model suffix eagle eagle3 extract_hidden_states dflash dspark mtp"
        " deepseek_mtp mimo_mtp mimo_v2_mtp glm4_moe_mtp glm4_moe_lite_mtp glm_ocr_mtp ernie_mtp nemotron_h_mtp"
        " exaone_moe_mtp exaone4_5_mtp qwen3_next_mtp qwen3_5_mtp longcat_flash_mtp minimax_m3_mtp bailing_hybrid_mtp"
        " pangu_ultra_moe_mtp step3p5_mtp gemma4_mtp hy_v3_mtp kimi_k3_mtp"
    ),
    **_text("model revision draft_model speculative_model"),
    **_plain(
        "num_speculative_tokens draft_tensor_parallel_size tensor_parallel_size prompt_lookup_max prompt_lookup_min"
        " max_model_len quantization enforce_eager disable_by_batch_size disable_mqa_scorer disable_logprobs"
        " acceptance_method rejection_sample_method draft_sample_method posterior_threshold posterior_alpha"
        " typical_acceptance_sampler_posterior_threshold typical_acceptance_sampler_posterior_alpha parallel_drafting"
        " speculative_token_tree suffix_decoding_max_tree_depth suffix_decoding_max_cached_requests"
        " suffix_decoding_max_spec_factor suffix_decoding_min_token_prob disable_padded_drafter_batch"
        " use_local_argmax_reduction moe_backend attention_backend kv_cache_dtype synthetic_acceptance_rate"
    ),
}
_CHAT = _plain(
    "enable_thinking thinking thinking_mode thinking_budget reasoning_effort preserve_thinking clear_thinking"
    " add_generation_prompt continue_final_message keep_all_reasoning add_vision_id reasoning truncate_history_thinking"
) | _text("system_prompt model_identity")

NESTED: dict[str, Listed] = {
    "additional-config": {},
    "attention-config": _plain(
        "backend flash_attn_version use_prefill_decode_attention flash_attn_max_num_splits_for_cuda_graph"
        " use_cudnn_prefill use_trtllm_ragged_deepseek_prefill use_trtllm_attention disable_flashinfer_prefill"
        " disable_flashinfer_q_quantization mla_prefill_backend use_prefill_query_quantization"
    ),
    "chat-template-kwargs": _CHAT,
    "compilation-config": {
        "backend": _one_of("inductor eager"),
        **_plain(
            "level mode cudagraph_mode cudagraph_capture_sizes max_cudagraph_capture_size max_capture_size"
            " full_cuda_graph"
            " cudagraph_num_of_warmups cudagraph_copy_inputs cudagraph_specialize_lora cudagraph_mm_encoder"
            " use_cudagraph"
            " use_inductor use_inductor_graph_partition compile_sizes compile_ranges_split_points compile_mm_encoder"
            " simple_cuda_graph fast_moe_cold_start encoder_cudagraph_token_budgets"
            " encoder_cudagraph_max_vision_items_per_batch"
        ),
        "custom_ops": PLAIN,
        "splitting_ops": TEXT,  # names of operators of torch (`vllm.unified_attention`), which are compared
        "pass_config": _PASSES,
        "dynamic_shapes_config": _plain("type evaluate_guards assume_32_bit_indexing"),
    },
    "default-chat-template-kwargs": _CHAT,
    "default-mm-loras": _text(_MODALITIES),
    "eplb-config": {
        "policy": _one_of("default"),
        **_plain(
            "window_size step_interval num_redundant_experts log_balancedness log_balancedness_interval use_async"
        ),
    },
    "hf-overrides": _HF,
    "ir-op-priority": _plain("rms_norm fused_add_rms_norm"),
    "kernel-config": _plain("enable_flashinfer_autotune moe_backend linear_backend"),
    "kv-transfer-config": _KV,
    "limit-mm-per-prompt": dict.fromkeys(_MODALITIES.split(), _plain("count height width num_frames length")),
    "lora-modules": {**_text("name path base_model_name"), **_plain("is_3d_lora_weight")},
    "media-io-kwargs": dict.fromkeys(
        _MODALITIES.split(),
        _plain("num_frames fps max_duration frame_recovery image_mode rgba_background_color max_frames min_frames"),
    ),
    "mm-processor-kwargs": _MM_PROCESSOR,
    "model-loader-extra-config": _plain(
        "concurrency distributed memory_limit enable_multithread_load num_threads safetensors_load_strategy"
    ),
    "override-generation-config": _GENERATION,
    "override-pooler-config": _POOLER,
    "pooler-config": _POOLER,
    "profiler-config": _plain("delay_iterations max_iterations warmup_iterations active_iterations ignore_frontend"),
    "reasoning-config": _text("reasoning_start_str reasoning_end_str think_start_str think_end_str"),
    "rope-scaling": _ROPE,
    "speculative-config": _SPECULATIVE,
    "structured-outputs-config": {
        "backend": _one_of("auto xgrammar guidance outlines lm-format-enforcer"),
        **_plain(
            "disable_fallback disable_any_whitespace disable_additional_properties enable_in_reasoning reasoning_parser"
        ),
    },
}
"""The objects that flags may hold."""

FLAGS: dict[str, Listed] = {
    "data-parallel-backend": _one_of("mp ray"),
    "distributed-executor-backend": _one_of("ray mp uni external_launcher"),
    **_text(
        "model served-model-name tokenizer revision code-revision tokenizer-revision hf-config-path chat-template"
        " response-role generation-config lora-modules prompt-adapters qlora-adapter-name-or-path speculative-model"
        " spec-model download-dir allowed-local-media-path allowed-media-domains allowed-origins allowed-methods"
        " allowed-headers root-path ignore-patterns otlp-traces-endpoint ssl-keyfile ssl-certfile ssl-ca-certs"
        " quantization-param-path default-mm-loras show-hidden-metrics-for-version host"
    ),
}
"""Flags whose one value is more than PLAIN, or less. vLLM imports nothing by those that are TEXT."""

ENV_TEXT = re.compile(
    r"HF_ENDPOINT|(?:HTTPS?|ALL|NO)_PROXY|(?:https?|all|no)_proxy|AWS_(?:DEFAULT_)?REGION|AWS_ENDPOINT_URL(?:_S3)?"
    r"|S3_ENDPOINT_URL|OTEL_SERVICE_NAME|OTEL_EXPORTER_OTLP_(?:TRACES_)?ENDPOINT|VLLM_LOGGING_PREFIX|USER|LOGNAME|TZ"
    r"|LANG|LANGUAGE|LC_\w+|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|SSL_CERT_FILE|SSL_CERT_DIR"
    # The stand-in for vLLM, with which the demo and the tests run.
    r"|STANDIN_\w+",
    re.ASCII,
)
"""Variables that may hold any text. So may every variable whose name is that of a credential."""
ENV_PLAIN = re.compile(
    # vLLM: numbers, switches, and words that it compares.
    r"VLLM_(?:USE_(?!RAY)\w+|ENABLE_\w+|DISABLE_\w+|DISABLED_KERNELS|SKIP_\w+|ROCM_\w+|CPU_\w+"
    r"|TPU_(?!.*PATH)\w+|MOE_\w+"
    r"|MLA_\w+|FLASH_ATTN_\w+|FLASHINFER_\w+|FUSED_MOE_\w+|MARLIN_\w+|DEEP_GEMM\w*|DEEPEP_\w+|MAX_\w+|LOG_\w+"
    r"|LOGITS_PROCESSOR_THREADS|LOGGING_LEVEL|LOGGING_COLOR|CONFIGURE_LOGGING|TRACE_FUNCTION"
    r"|DEBUG_LOG_API_SERVER_RESPONSE"
    r"|ATTENTION_BACKEND|PP_LAYER_PARTITION|WORKER_MULTIPROC_METHOD|ALLOW_LONG_MAX_MODEL_LEN"
    r"|ALLOW_CHUNKED_LOCAL_ATTN_WITH_HYBRID_KV_CACHE|ALLREDUCE_\w+|ALL2ALL_BACKEND"
    r"|NO_USAGE_STATS|DO_NOT_TRACK|NO_DEPRECATION_WARNING|KEEP_ALIVE_ON_ENGINE_DEATH|ENGINE_\w+"
    r"|EXECUTE_MODEL_TIMEOUT_SECONDS"
    r"|(?:RPC|HTTP|IMAGE_FETCH|VIDEO_FETCH|AUDIO_FETCH|TOOL_PARSE_REGEX)_TIMEOUT\w*|HTTP_TIMEOUT_KEEP_ALIVE"
    r"|VIDEO_LOADER_BACKEND|MEDIA_LOADING_THREAD_COUNT|MM_INPUT_CACHE_GIB|MM_HASHER_ALGORITHM|RINGBUFFER_\w+"
    r"|SLEEP_WHEN_IDLE"
    r"|MQ_MAX_CHUNK_BYTES_MB|MSGPACK_ZERO_COPY_THRESHOLD|XGRAMMAR_CACHE_MB|KV_CACHE_LAYOUT|COMPUTE_NANS_IN_LOGITS"
    r"|V1_OUTPUT_PROC_CHUNK_SIZE|TUNE_\w+|CUDAGRAPH_\w+|FLOAT32_MATMUL_PRECISION|BLOCKSCALE_FP8_GEMM_FLASHINFER"
    r"|GC_DEBUG|SERVER_SHUTDOWN_TIMEOUT|BATCH_INVARIANT|TARGET_DEVICE|GPT_OSS_\w+|NVFP4_\w+|RANDOMIZE_\w+"
    r"|PROCESS_NAME_PREFIX|HARMONY_\w+|NIXL_ABORT_REQUEST_TIMEOUT|SHARED_EXPERTS_\w+|TRITON_\w+|Q_PAD\w*"
    r"|TORCH_COMPILE_LEVEL)"
    # The hub.
    r"|HF_HUB_(?:OFFLINE|DISABLE_\w+|ENABLE_HF_TRANSFER|DOWNLOAD_TIMEOUT|ETAG_TIMEOUT|VERBOSITY)"
    r"|HF_XET_(?:HIGH_PERFORMANCE|NUM_CONCURRENT_RANGE_GETS|CHUNK_CACHE_SIZE_BYTES|RECONSTRUCT_WRITE_SEQUENTIALLY)"
    r"|HF_DATASETS_OFFLINE|TRANSFORMERS_(?:OFFLINE|VERBOSITY|NO_ADVISORY_WARNINGS)|TOKENIZERS_PARALLELISM"
    r"|RAYON_NUM_THREADS"
    r"|SAFETENSORS_FAST_GPU|DO_NOT_TRACK|MODELSCOPE_\w*OFFLINE|RUNAI_STREAMER_(?:CONCURRENCY|MEMORY_LIMIT"
    r"|CHUNK_BYTESIZE)"
    # PyTorch, CUDA, Triton.
    r"|PYTORCH_(?:CUDA_|HIP_)?ALLOC_CONF|PYTORCH_NVML_BASED_CUDA_CHECK|TORCH_(?:CUDA_ARCH_LIST|USE_CUDA_DSA|LOGS"
    r"|SHOW_CPP_STACKTRACES|COMPILE_DISABLE|NCCL_(?:ASYNC_ERROR_HANDLING|BLOCKING_WAIT|ENABLE_MONITORING"
    r"|HEARTBEAT_TIMEOUT_SEC|AVOID_RECORD_STREAMS|TRACE_BUFFER_SIZE|DUMP_ON_TIMEOUT)|DISTRIBUTED_DEBUG|CPP_LOG_LEVEL"
    r"|ALLOW_TF32_CUBLAS_OVERRIDE|NUM_THREADS)|TORCHINDUCTOR_(?:COMPILE_THREADS|MAX_AUTOTUNE\w*|FX_GRAPH_CACHE"
    r"|AUTOGRAD_CACHE|COORDINATE_DESCENT_TUNING)|TORCHDYNAMO_(?:DISABLE|VERBOSE)|CUDA_(?:LAUNCH_BLOCKING|DEVICE_ORDER"
    r"|DEVICE_MAX_CONNECTIONS|MODULE_LOADING|VISIBLE_DEVICES|MODULE_DATA_LOADING|SCALE_LAUNCH_QUEUES"
    r"|DISABLE_PTX_JIT|FORCE_PTX_JIT|CACHE_DISABLE|CACHE_MAXSIZE|ENABLE_COREDUMP_ON_EXCEPTION)|CUBLAS_WORKSPACE_CONFIG"
    r"|CUBLASLT_WORKSPACE_SIZE|NVIDIA_(?:VISIBLE_DEVICES|DISABLE_REQUIRE|REQUIRE_\w+|TF32_OVERRIDE)|TRITON_(?:DEBUG"
    r"|ALWAYS_COMPILE|PRINT_AUTOTUNING|F32_DEFAULT)|FLASHINFER_(?:CUDA_ARCH_LIST|LOGLEVEL|DISABLE_VERSION_CHECK)"
    r"|(?:HIP|ROCR)_VISIBLE_DEVICES|HSA_OVERRIDE_GFX_VERSION|HSA_NO_SCRATCH_RECLAIM|AMD_SERIALIZE_KERNEL"
    r"|SYCL_CACHE_PERSISTENT"
    # NCCL on this host. Interfaces and addresses, by which other hosts can join, are not among them.
    r"|NCCL_(?:DEBUG|DEBUG_SUBSYS|P2P_DISABLE|P2P_LEVEL|P2P_DIRECT_DISABLE|SHM_DISABLE|IB_DISABLE|NET_GDR_LEVEL"
    r"|NET_GDR_READ|NVLS_ENABLE|CUMEM_ENABLE|CUMEM_HOST_ENABLE|ALGO|PROTO|MIN_NCHANNELS|MAX_NCHANNELS|MIN_CTAS|MAX_CTAS"
    r"|NTHREADS|BUFFSIZE|LL_BUFFSIZE|LL128_BUFFSIZE|TIMEOUT|BLOCKING_WAIT|ASYNC_ERROR_HANDLING|LAUNCH_MODE"
    r"|IGNORE_CPU_AFFINITY|GRAPH_MIXING_SUPPORT|CHECKS_DISABLE|CHECK_POINTERS|IB_TIMEOUT|IB_RETRY_CNT|IB_GID_INDEX"
    r"|IB_TC|IB_SL|CROSS_NIC|WORK_FIFO_DEPTH|WIN_ENABLE|RAS_ENABLE|NVLS_\w+|MNNVL_ENABLE)"
    # The processors.
    r"|(?:OMP|MKL|OPENBLAS|NUMEXPR|GOTO|BLIS|VECLIB_MAXIMUM|POLARS_MAX)_(?:NUM_)?THREADS|OMP_(?:PROC_BIND"
    r"|PLACES|SCHEDULE"
    r"|WAIT_POLICY|DYNAMIC)|KMP_(?:AFFINITY|BLOCKTIME|TPAUSE|SETTINGS|DUPLICATE_LIB_OK)|GOMP_CPU_AFFINITY"
    r"|MKL_(?:SERVICE_FORCE_INTEL|THREADING_LAYER)|MALLOC_ARENA_MAX|MALLOC_TRIM_THRESHOLD_|MAX_JOBS"
    r"|AWS_EC2_METADATA_DISABLED|TERM|NO_COLOR|FORCE_COLOR|COLUMNS"
    r"|TQDM_\w+|GRPC_VERBOSITY|TF_CPP_MIN_LOG_LEVEL|ABSL_LOG_LEVEL|OTEL_SDK_DISABLED|OTEL_TRACES_SAMPLER",
    re.ASCII,
)
"""Variables that hold numbers, switches, and words. A path of a Python class or an address is refused in them."""

ENV_READ = re.compile(
    r"(?:VLLM_|RAY_|PYTHON|TORCH|PYTORCH_|NCCL_|RCCL_|GLOO_|UCX_|NIXL_|LMCACHE_|MOONCAKE_|HF_|HUGGING|TRANSFORMERS_"
    r"|CUDA|CUDNN_|CUBLAS|NV|HIP_|ROCM_|HSA_|TRITON_|FLASHINFER_|XFORMERS_|OMPI_|PMI|MPI|OMP_|KMP_|MKL_|MASTER_|WORLD_"
    r"|LOCAL_|NODE_|GROUP_|ELASTIC|AWS_|OTEL_|RUNAI_|TENSORIZER_|GIT_|PIP_|UV_|CONDA_|XDG_|PROMETHEUS_|UVICORN_|WEB_"
    r"|GUNICORN_|LD_|DYLD_|GLIBC_|MALLOC_|GCONV_|LOC|SSL|OPENSSL|JAX_|XLA_|TPU_|NEURON_|SYCL_|ONEAPI|CCL_|FI_)\w*"
    r"|PATH|ENV|BASH_\w+|SHELLOPTS|PS4|IFS|CC|CXX|CFLAGS|CXXFLAGS|LDFLAGS|RANK|TMPDIR|NO_COLOR",
    re.ASCII,
)
"""Variables that vLLM, the libraries below it, Python, or a shell may read. Containers get all others, too: such a
name is of the image's own program, and means nothing to what chooses code."""
