#!/bin/sh
# Installs what Beamdesk's demo and tests need and is missing; does nothing, quickly, where all is there.
# `setup.sh peers` installs what the tests are held against, too.
#   packages.txt      Debian packages, by apt when we are root or have sudo; otherwise they are named and we stop
#   requirements.txt  Python packages, into .venv
#   tests/peers/*/requirements.txt  an EC2 API and a real OpenStack, into .venv-ec2 and .venv-openstack
#   tests/peers/oidc  an OpenID provider, from npm
#   package-lock.json the browser's files, built once into web/static/vendor
set -eu
cd "$(dirname "$0")"

say() { printf '%s\n' "$*" >&2; }

missing_packages() {
    wanted=$(sed 's/#.*//' packages.txt)
    command -v npm >/dev/null || wanted="$wanted nodejs npm"
    for package in $wanted; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || printf '%s ' "$package"
    done
}

install_packages() {
    if ! command -v apt-get >/dev/null; then
        say "This is no Debian or Ubuntu. Please install the equivalents of: $1"; exit 1
    elif [ "$(id -u)" = 0 ]; then
        as_root=
    elif command -v sudo >/dev/null && sudo -v; then
        as_root=sudo
    else
        say "These packages are missing, and there is neither root nor sudo to install them:"
        say "    apt-get install --no-install-recommends $1"; exit 1
    fi
    say "Installing Debian packages: $1"
    $as_root apt-get update -qq
    # No service is started by these installations: the demo runs private instances of its own.
    # shellcheck disable=SC2086
    $as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends $1 >/dev/null
}

python_environment() {
    # Debian's own Python where it is new enough: machines and an unprivileged account can read it.
    for python in /usr/bin/python3 python3; do
        "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break
        python=
    done
    [ -n "$python" ] || { say "Beamdesk needs Python 3.11 or newer."; exit 1; }
    say "Installing Python packages into .venv"
    [ -x .venv/bin/python ] || "$python" -m venv .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
}

peer_environment() {
    say "Installing the tests' peer $1 into .venv-$1"
    [ -x ".venv-$1/bin/python" ] || .venv/bin/python -m venv ".venv-$1"
    ".venv-$1/bin/python" -m pip install --quiet --disable-pip-version-check -r "tests/peers/$1/requirements.txt"
}

openid_provider() {
    say "Installing the tests' OpenID provider into tests/peers/oidc"
    npm ci --prefix tests/peers/oidc --no-audit --no-fund --loglevel=error
}

browser_files() {
    say "Building the browser's files"
    npm ci --no-audit --no-fund --loglevel=error
    npm run --silent build
}

# `stamped NAME FILE... -- COMMAND` runs the command unless it ran for these very files before.
stamped() {
    stamp=$1; shift; files=
    while [ "$1" != -- ]; do files="$files $1"; shift; done
    shift
    # shellcheck disable=SC2086
    sum=$(cat $files | sha256sum)
    if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$sum" ]; then
        "$@"
        mkdir -p "$(dirname "$stamp")"
        printf '%s\n' "$sum" > "$stamp"
    fi
}

missing=$(missing_packages)
[ -z "$missing" ] || install_packages "$missing"
stamped .venv/beamdesk-stamp requirements.txt pyproject.toml -- python_environment
stamped web/static/vendor/.stamp package-lock.json package.json -- browser_files
for peer in ec2 openstack; do
    [ "${1:-}" = peers ] || break
    stamped ".venv-$peer/beamdesk-stamp" "tests/peers/$peer/requirements.txt" -- peer_environment "$peer"
done
if [ "${1:-}" = peers ]; then
    stamped tests/peers/oidc/node_modules/.stamp tests/peers/oidc/package-lock.json -- openid_provider
fi
