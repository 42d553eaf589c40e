#!/bin/sh
# Makes this host a worker of the control plane that this file came from:
#
#   curl -fsSL https://muster.example.com/join.sh | sudo env MUSTER_TOKEN=mst_reg_… sh -s -- \
#       --url https://muster.example.com [--models DIRECTORY] [--python PATH] [--use-index] [settings of muster-agent …]
#
# It makes a virtual environment in /opt/muster, installs the agent and its dependencies from the control plane into it,
# keeps the settings in /etc/muster/agent.env, and runs the agent as the systemd service muster-agent. It needs no
# package index: the control plane has the wheels for this host's Python, and pip compares each one with its digest.
# --use-index takes the dependencies from this host's package index instead, with the same digests.
# Run again it upgrades: models go on running meanwhile, and the new agent adopts them; settings that are not given again
# stay as they are.
set -eu

PYTHONS='3.10 3.11 3.12 3.13 3.14'
MACHINES='x86_64 aarch64'
GLIBC=28 # 2.28
FORMER=muster # the name of the Python package in 0.1.0
HOME_DIR=/opt/muster
SETTINGS=/etc/muster/agent.env
UNIT=/etc/systemd/system/muster-agent.service
COMMAND=/usr/local/bin/muster-agent
STATE=/var/lib/muster-agent
TRUST=/etc/ssl/certs/ca-certificates.crt
PROXIES='http_proxy https_proxy all_proxy no_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY'
AUTHORITIES='REQUESTS_CA_BUNDLE CURL_CA_BUNDLE SSL_CERT_FILE'

say() { echo "join.sh: $*"; }
fail() {
    echo "join.sh: $*" >&2
    exit 1
}

main() {
    umask 022
    [ "$(id -u)" = 0 ] || fail "needs root: run it with sudo"
    command -v curl >/dev/null || fail "needs curl: apt-get install curl"
    arguments "$@"
    check_python
    settings
    fetch_wheels
    install_agent
    write_settings
    write_command
    write_unit
    start
}

# Which Python runs the agent: the one of --python, else that of an earlier run, else python3. The wheels are for CPython
# on Linux with glibc, so an unsupported platform is named before anything is fetched or changed.
check_python() {
    if [ -z "$PYTHON" ]; then
        PYTHON=python3
        ! has_pip "$HOME_DIR/bin/python" || PYTHON=$HOME_DIR/bin/python
    fi
    supported="CPython ${PYTHONS%% *} to ${PYTHONS##* }"
    command -v "$PYTHON" >/dev/null ||
        fail "needs $supported, and there is no $PYTHON: apt-get install python3 python3-venv, or name another with --python PATH"
    found=$("$PYTHON" -c "$ASK") || fail "$PYTHON does not run: name another one with --python PATH"
    set -f
    # Fields without spaces.
    set -- $found
    set +f
    system=$1 implementation=$2 VERSION=$3 bits=$4 threads=$5 MACHINE=$6 libc=$7
    [ "$system" = linux ] || fail "the agent runs on Linux, and this host has $system: use a Linux host"
    other="install one of these (on Debian and Ubuntu with its venv package, such as python3.12-venv), and name it: --python /usr/bin/python3.12"
    [ "$implementation" = CPython ] || fail "needs $supported, and $PYTHON is $implementation: $other"
    [ "$threads" = gil ] || fail "needs $supported, and $PYTHON is a free-threaded build of $VERSION: $other"
    one_of "$VERSION" $PYTHONS || fail "needs $supported, and $PYTHON is $VERSION: $other"
    container="run the agent as a container (make image), or use a host with another distribution"
    case $libc in
    2.*) ;;
    *) fail "needs glibc, and $PYTHON uses another C library (musl, as on Alpine): $container" ;;
    esac
    minor=${libc#2.}
    minor=${minor%%[!0-9]*}
    [ "${minor:-0}" -ge "$GLIBC" ] || fail "needs glibc 2.$GLIBC or newer, and this host has $libc: $container"
    [ "$bits" = 64 ] || fail "needs a 64-bit Python, and $PYTHON is a $bits-bit one: name another one with --python PATH"
    one_of "$MACHINE" $MACHINES ||
        fail "needs a processor of the kind $(echo $MACHINES | sed 's/ / or /g'), and this host has $MACHINE: use another host"
}

# Also a Python that is too old has to understand it.
ASK='
import os, platform, struct, sys, sysconfig
try:
    libc = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()[-1:] or ["none"]
except (AttributeError, ValueError, OSError):
    libc = ["none"]
threads = "free" if sysconfig.get_config_var("Py_GIL_DISABLED") else "gil"
bits = 8 * struct.calcsize("P")
version = "%d.%d" % tuple(sys.version_info[:2])
system = "linux" if sys.platform.startswith("linux") else sys.platform # Python 2 has linux2
fields = (system, platform.python_implementation(), version, bits, threads, platform.machine() or "unknown", libc[0])
print("%s %s %s %s %s %s %s" % fields)
'

one_of() {
    wanted=$1
    shift
    for each in "$@"; do
        [ "$each" != "$wanted" ] || return 0
    done
    return 1
}

has_pip() { [ -x "$1" ] && "$1" -c 'import pip' >/dev/null 2>&1; }

# Settings become lines NAME='value' or NAME="value", which systemd and sh read alike. Those of an earlier run stay.
arguments() {
    URL='' MODELS='' LINES='' MOUNTS='' IMAGES='' SHARED='' PYTHON='' USE_INDEX=''
    while [ $# -gt 0 ]; do
        case $1 in
        --url=* | --models=* | --token=* | --name=* | --engine=* | --default-image=* | --address=* | --model-root=* | --vllm-command=* | --python=*)
            setting "${1%%=*}" "${1#*=}"
            ;;
        --url | --models | --token | --name | --engine | --default-image | --address | --model-root | --vllm-command | --python)
            [ $# -ge 2 ] || fail "$1 needs a value"
            setting "$1" "$2"
            shift
            ;;
        --allow-mount=* | --allow-image=* | --share-env=*) one_more "${1%%=*}" "${1#*=}" ;;
        --allow-mount | --allow-image | --share-env)
            [ $# -ge 2 ] || fail "$1 needs a value"
            one_more "$1" "$2"
            shift
            ;;
        --use-index) USE_INDEX=1 ;;
        --insecure | --allow-remote-code | --allow-entrypoint | --allow-host-network) setting "$1" 1 ;;
        *) fail "does not know $1; other settings can be written to $SETTINGS, as MUSTER_… variables" ;;
        esac
        shift
    done
}

settings() {
    [ -z "$MOUNTS" ] || setting --allow-mount "$MOUNTS"
    [ -z "$IMAGES" ] || setting --allow-image "$IMAGES"
    [ -z "$SHARED" ] || setting --share-env "$SHARED"
    [ -z "${MUSTER_TOKEN:-}" ] || remember MUSTER_TOKEN "$MUSTER_TOKEN"
    [ -n "$URL" ] || URL=$(earlier MUSTER_URL)
    [ -n "$URL" ] || fail "needs --url, where this control plane is"
    [ -n "$MODELS" ] || MODELS=$(earlier HF_HOME)
    [ -n "$MODELS" ] || MODELS=/var/lib/muster-models
    case $MODELS in /*) ;; *) fail "--models: expected an absolute path, got $MODELS" ;; esac
    URL=${URL%/}
    remember MUSTER_URL "$URL"
    remember HF_HOME "$MODELS"
    surroundings
}

# The service has none of this shell's environment: how to reach the control plane, and whom to trust, go with it.
surroundings() {
    for name in $PROXIES; do
        value=$(printenv "$name") && remember "$name" "$value"
    done
    trusted=''
    for name in $AUTHORITIES; do
        value=$(printenv "$name") || continue
        [ -n "$value" ] || continue
        case $value in /*) ;; *) value=$PWD/$value ;; esac
        [ -r "$value" ] || fail "$name: there is no $value, or it cannot be read"
        remember "$name" "$value"
        trusted=${trusted:-$value}
    done
    if [ -n "$trusted" ]; then
        # The first of them decides, also over one of an earlier run.
        [ -n "$(printenv REQUESTS_CA_BUNDLE)" ] || remember REQUESTS_CA_BUNDLE "$trusted"
        return
    fi
    # The agent trusts whom this host trusts, as curl did that fetched this.
    [ ! -f "$TRUST" ] || [ -n "$(earlier REQUESTS_CA_BUNDLE)$(earlier SSL_CERT_FILE)" ] ||
        remember REQUESTS_CA_BUNDLE "$TRUST"
}

setting() {
    case $1 in
    --url) URL=$2 ;;
    --models) MODELS=$2 ;;
    --python) PYTHON=$2 ;;
    *) remember "MUSTER_$(echo "${1#--}" | tr 'a-z-' 'A-Z_')" "$2" ;;
    esac
}

# Of a setting that may be given several times; the agent splits its variable at spaces.
one_more() {
    case $2 in *[[:space:]]*) fail "$1: expected no spaces, got $2" ;; esac
    case $1 in
    --allow-mount) MOUNTS="${MOUNTS:+$MOUNTS }$2" ;;
    --allow-image) IMAGES="${IMAGES:+$IMAGES }$2" ;;
    --share-env) SHARED="${SHARED:+$SHARED }$2" ;;
    esac
}

remember() {
    case $2 in
    *"
"*) fail "$1: a setting cannot hold a line break" ;;
    # Only in double quotes do systemd and sh read these alike.
    *\'* | *\\*) quoted="\"$(printf %s "$2" | sed 's/[\\"$`]/\\&/g')\"" ;;
    *) quoted="'$2'" ;;
    esac
    LINES="$LINES$1=$quoted
"
}

# The value of a setting of an earlier run, however it is quoted.
earlier() {
    [ ! -f "$SETTINGS" ] || sed -n -e "s/^$1='\(.*\)'\$/\1/p;t" -e "/^$1=\"/{s/^$1=\"\(.*\)\"\$/\1/;s/\\\\\([\\\\\"\$\`]\)/\1/g;p;d}" \
        -e "s/^$1=//p" "$SETTINGS"
}

# The list for this platform names each wheel with its digest, in pip's form, and the file's name behind a #. The last one
# is the control plane's own.
fetch_wheels() {
    WORK=$(mktemp -d) || fail "could not make a temporary folder: free space in ${TMPDIR:-/tmp}, or set TMPDIR"
    trap 'rm -rf "$WORK"' EXIT
    LIST=requirements-cp$(echo "$VERSION" | tr -d .)-$MACHINE.txt
    fetch "$LIST"
    files=$(sed -n 's/^[^#].* # \([A-Za-z0-9_.+]*-[A-Za-z0-9_.+-]*\.whl\)$/\1/p' "$WORK/$LIST")
    [ -n "$files" ] || fail "$URL/wheels/$LIST lists no wheels: is $URL a control plane, and is a proxy in the way?"
    OWN=${files##*
}
    for file in $files; do
        [ -n "$USE_INDEX" ] && [ "$file" != "$OWN" ] || fetch "$file"
    done
}

# A file of the control plane, which may redirect to where it keeps the file. curl's own reason goes to the terminal.
fetch() {
    code=$(curl -sSL --retry 3 -H 'Accept: application/octet-stream' -o "$WORK/$1" -w '%{http_code}' "$URL/wheels/$1") ||
        fail "could not fetch $URL/wheels/$1 (curl says why above): check --url, and the proxy variables that sudo lets through; then run this again"
    [ "$code" != 200 ] || return 0
    said=$("$PYTHON" -c 'import json, sys; print(json.load(open(sys.argv[1]))["message"])' "$WORK/$1" 2>/dev/null) || said=''
    instead=''
    case $1 in *.whl) instead="; or run this again with --use-index, which takes it from this host's package index" ;; esac
    fail "could not fetch $URL/wheels/$1: HTTP $code${said:+, $said}$instead"
}

# pip collects the wheels and compares their digests before anything that works is touched.
install_agent() {
    if ! has_pip "$HOME_DIR/bin/python" || [ "$(minor_of "$HOME_DIR/bin/python")" != "$VERSION" ]; then
        "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null ||
            fail "needs the venv module of $PYTHON: apt-get install python3-venv (python$VERSION-venv for another than the distribution's own)"
        "$PYTHON" -m venv --clear "$HOME_DIR" ||
            fail "could not make a virtual environment in $HOME_DIR (the reason is above): mend that, and run this again"
    fi
    mkdir "$WORK/wheels"
    if [ -n "$USE_INDEX" ]; then
        "$HOME_DIR/bin/python" -m pip download --quiet --disable-pip-version-check --no-input --only-binary=:all: \
            --no-deps --require-hashes --find-links "$WORK" --dest "$WORK/wheels" -r "$WORK/$LIST" ||
            fail "could not take the agent's dependencies from this host's package index (pip says why above): mend that, or run this again without --use-index; nothing was changed"
    else
        offline download --find-links "$WORK" --dest "$WORK/wheels" ||
            fail "the wheels of $URL are not those that it lists (pip says why above): run this again; if that repeats, run make wheelhouse where the control plane runs; nothing was changed"
    fi
    # Its files would be removed with it, once those of the new package have the same names.
    if [ "${OWN%%-*}" != "$FORMER" ] && "$HOME_DIR/bin/python" -m pip show --quiet "$FORMER" 2>/dev/null; then
        "$HOME_DIR/bin/python" -m pip uninstall --quiet --disable-pip-version-check --yes "$FORMER" ||
            fail "could not remove the former package $FORMER from $HOME_DIR (pip says why above): mend that, and run this again"
    fi
    # A wheel of the same version may be another build of it.
    offline install --force-reinstall --find-links "$WORK/wheels" ||
        fail "could not install the agent in $HOME_DIR (pip says why above): mend that, and run this again before the service restarts"
    say "installed $("$HOME_DIR/bin/muster-agent" --version)"
}

minor_of() { "$1" -c 'import sys; print("%d.%d" % tuple(sys.version_info[:2]))'; }

# pip without this host's settings for it: no index, no cache.
offline() {
    what=$1
    shift
    PIP_CONFIG_FILE=/dev/null "$HOME_DIR/bin/python" -m pip --isolated "$what" --quiet --disable-pip-version-check \
        --no-input --no-cache-dir --no-index --no-deps --only-binary=:all: --require-hashes "$@" -r "$WORK/$LIST"
}

# Readable by root alone: the token is in it.
write_settings() {
    mkdir -p "${SETTINGS%/*}" "$MODELS"
    (
        umask 077
        {
            names=$(printf %s "$LINES" | sed 's/=.*//')
            [ ! -f "$SETTINGS" ] || grep -vE "^($(echo $names | tr ' ' '|'))=" "$SETTINGS" || true
            printf %s "$LINES"
        } >"$SETTINGS.new"
    )
    mv "$SETTINGS.new" "$SETTINGS"
}

# For people: muster-agent doctor, with the service's settings.
write_command() {
    cat >"$COMMAND" <<END
#!/bin/sh
set -a
. $SETTINGS
exec $HOME_DIR/bin/muster-agent "\$@"
END
    chmod 755 "$COMMAND"
}

# Of the hardening: no private /tmp and no kill of the whole group, since models of the process engine live on in this
# service while the agent is replaced; no device policy, since their GPUs are devices. Capabilities are not needed: what
# root owns is enough.
write_unit() {
    # systemd splits at spaces, and reads % as the beginning of a specifier.
    models=$(printf %s "$MODELS" | sed 's/[\\"]/\\&/g; s/%/%%/g')
    cat >"$UNIT" <<END
[Unit]
Description=Muster worker agent
Wants=network-online.target
After=network-online.target docker.service
StartLimitIntervalSec=0

[Service]
Type=exec
EnvironmentFile=$SETTINGS
Environment=XDG_CACHE_HOME=$STATE/cache TRITON_HOME=$STATE/cache
ExecStart=$HOME_DIR/bin/muster-agent
Restart=always
RestartSec=5
KillMode=process
OOMPolicy=continue
TimeoutStopSec=30
StateDirectory=muster-agent
StateDirectoryMode=0700
CapabilityBoundingSet=
LockPersonality=yes
NoNewPrivileges=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome=read-only
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectSystem=strict
ReadWritePaths="$models"
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native

[Install]
WantedBy=multi-user.target
END
}

start() {
    if [ ! -d /run/systemd/system ]; then
        say "systemd does not run here: start the agent with $COMMAND"
        return
    fi
    systemctl daemon-reload
    systemctl enable --quiet muster-agent
    systemctl restart muster-agent
    say "the service muster-agent runs; $COMMAND doctor looks for what is amiss, journalctl -u muster-agent shows its log"
}

main "$@"
