#!/bin/sh
# Pins what pyproject.toml and the tests' own environments need, with the hashes of every file of each version. What is
# pinned stays unless it is asked for: `lock.sh 1` pins the newest of everything, `lock.sh NAME` that of one package.
set -eu
cd "$(dirname "$0")/.."
case ${1:-} in
"") newer= ;;
1) newer=--upgrade ;;
*) newer="--upgrade-package $1" ;;
esac
[ -x .venv/lock/bin/uv ] || {
    .venv/bin/python -m venv --clear .venv/lock
    .venv/lock/bin/python -m pip install --quiet --disable-pip-version-check --no-input uv==0.13.9
}

# $1 is the lock file; its first lines are comments, which stay. The rest says of what it is made.
lock() {
    file=$1
    shift
    grep '^#' "$file" >"$file.comments"
    .venv/lock/bin/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --no-emit-index-url \
        $newer --output-file "$file" "$@"
    cat "$file.comments" "$file" >"$file.new"
    mv "$file.new" "$file"
    rm "$file.comments"
    echo "$file: $(grep -c == "$file") packages"
}

lock requirements-dev.txt --python-version 3.11 --extra dev pyproject.toml
# `make test-310` installs this beside the wheel. Some of requirements-dev.txt has no version for Python 3.10.
printf 'pytest\npytest-xdist\nhypothesis\nmoto[server]\nsetuptools>=78\n' >.venv/python310.in
lock requirements-310.txt --python-version 3.10 --extra agent --extra cli --extra gateway --extra server pyproject.toml .venv/python310.in
lock infra/server/requirements.txt --python-version 3.11 --extra gateway --extra server --constraint requirements-dev.txt pyproject.toml
# LiteLLM's versions are chosen by hand, since some were withdrawn: here they get their hashes.
grep -oE '^[^ #]+==[^ ;\\]+' tests/litellm/requirements.txt >.venv/litellm.in
lock tests/litellm/requirements.txt --python-version 3.11 --no-deps .venv/litellm.in
# `make bench` measures peers, draws plots, and profiles in an environment of its own.
printf 'aiosqlite\nfastapi\nmatplotlib\npsutil\npy-spy\nsqlalchemy[asyncio]\nuvicorn[standard]\n' >.venv/bench.in
lock bench/requirements.txt --python-version 3.11 .venv/bench.in
# Lambda has Botocore: of what the app needs it gets these alone.
printf 'msgspec\npynamodb\n' >.venv/lambda.in
lock requirements.txt --python-version 3.11 --no-deps --constraint requirements-dev.txt .venv/lambda.in
# The files that hosts install, for each of their platforms.
.venv/bin/python -m infra.wheelhouse_lock
