#!/bin/sh
# Makes this host a worker of the control plane that this file came from:
#
#   curl -fsSL https://muster.example.com/join.sh | sudo env MUSTER_TOKEN=mst_reg_… sh -s -- \
#       --url https://muster.example.com [--models DIRECTORY] [settings of muster-agent …]
#
# It makes a virtual environment in /opt/muster, installs the control plane's own wheel into it, keeps the settings in
# /etc/muster/agent.env, and runs the agent as the systemd service muster-agent. Run again it upgrades: models go on
# running meanwhile, and the new agent adopts them; settings that are not given again stay as they are.
set -eu

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
    check_host
    settings "$@"
    install_agent
    write_settings
    write_command
    write_unit
    start
}

check_host() {
    [ "$(id -u)" = 0 ] || fail "needs root: run it with sudo"
    command -v curl >/dev/null || fail "needs curl: apt-get install curl"
    command -v python3 >/dev/null || fail "needs Python 3.10 or newer: apt-get install python3 python3-venv"
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        fail "needs Python 3.10 or newer, and this is $(python3 --version)"
    python3 -c 'import ensurepip, venv' 2>/dev/null || fail "needs python3-venv: apt-get install python3-venv"
}

# Settings become lines NAME='value' or NAME="value", which systemd and sh read alike. Those of an earlier run stay.
settings() {
    URL='' MODELS='' LINES='' MOUNTS='' IMAGES='' SHARED=''
    while [ $# -gt 0 ]; do
        case $1 in
        --url=* | --models=* | --token=* | --name=* | --engine=* | --default-image=* | --address=* | --model-root=* | --vllm-command=*)
            setting "${1%%=*}" "${1#*=}"
            ;;
        --url | --models | --token | --name | --engine | --default-image | --address | --model-root | --vllm-command)
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
        --insecure | --allow-remote-code | --allow-entrypoint | --allow-host-network) setting "$1" 1 ;;
        *) fail "does not know $1; other settings can be written to $SETTINGS, as MUSTER_… variables" ;;
        esac
        shift
    done
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

install_agent() {
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    # Under the name that the server gives it: pip reads the version from that.
    (cd "$work" && curl -fsSLOJ -H 'Accept: application/octet-stream' "$URL/muster.whl") ||
        fail "could not fetch $URL/muster.whl"
    wheel=$(echo "$work"/*.whl)
    [ -x "$HOME_DIR/bin/python" ] || python3 -m venv "$HOME_DIR"
    "$HOME_DIR/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --upgrade "$wheel[agent]"
    # A wheel of the same version may be another build of it.
    "$HOME_DIR/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --no-deps --force-reinstall \
        "$wheel"
    say "installed $("$HOME_DIR/bin/muster-agent" --version)"
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
