#!/bin/bash
# A Docker engine where there is none, for machines without systemd: Debian's docker.io, installed and started as root.
# An engine that answers is left alone.
set -euo pipefail

LOG=${LOG:-/tmp/muster-dockerd.log}

log() { echo "docker.sh: $*" >&2; }

if docker info >/dev/null 2>&1; then
    log "an engine answers already"
    exit 0
fi
if [ "$(id -u)" != 0 ]; then
    log "no engine answers, and starting one needs root: sudo make docker"
    exit 1
fi
if ! command -v dockerd >/dev/null; then
    log "installing docker.io"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends docker.io >/dev/null
fi
# With a hook of this name on the engine's PATH, requests for GPUs work on machines that have none.
if [ "${PRETEND_GPUS:-}" ] && ! command -v nvidia-container-runtime-hook >/dev/null; then
    printf '#!/bin/sh\nexit 0\n' >/usr/local/bin/nvidia-container-runtime-hook
    chmod +x /usr/local/bin/nvidia-container-runtime-hook
fi
pgrep -x dockerd >/dev/null || rm -f /var/run/docker.pid # left over, it would keep the engine from starting
setsid dockerd >"$LOG" 2>&1 </dev/null &
engine=$!
for _ in $(seq 150); do
    if docker info >/dev/null 2>&1; then
        log "started; its log is $LOG"
        exit 0
    fi
    kill -0 "$engine" 2>/dev/null || break
    sleep 0.2
done
log "the engine did not start:"
tail -20 "$LOG" >&2
exit 1
