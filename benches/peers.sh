#!/usr/bin/env bash
# Installs the tools that lifeboat is measured against, on a Debian machine, as root.
#
#   benches/peers.sh [--prefix DIR] [restic] [borg] [bupstash] [rustic]     (default: all four, prefix /usr/local)
#
# What is there already is left alone, so it can be run again after a failure. No package of the system is
# upgraded: restic comes from Debian unstable by unpacking that one package. Building rustic takes half an
# hour on two cores: set CARGO_TARGET_DIR to a folder that stays, and a build that was cut off goes on later.
# vykar is on no package registry, so compare.py only names it as missing.
set -euo pipefail

prefix=/usr/local
if [ "${1:-}" = --prefix ]; then
    prefix=$2
    shift 2
fi
wanted=("$@")
[ ${#wanted[@]} -gt 0 ] || wanted=(restic borg bupstash rustic)

borg_version=1.4
bupstash_version=0.12.0
rustic_version=0.11

mkdir -p "$prefix/bin"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export PATH="$prefix/bin:$PATH"

packages() {
    dpkg -s "$@" >/dev/null 2>&1 && return
    apt-get update -q
    apt-get install -y -q --no-install-recommends "$@"
}

install_restic() {
    # Own list, own state folder: the unstable release is seen by this one download and by nothing else.
    local keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    mkdir -p "$scratch/lists/partial"
    echo "deb [signed-by=$keyring] http://deb.debian.org/debian sid main" >"$scratch/sid.list"
    local options=(-q -o "Dir::Etc::sourcelist=$scratch/sid.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$scratch/lists"
        -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Sandbox::User=root)
    apt-get "${options[@]}" update
    (cd "$scratch" && apt-get "${options[@]}" download restic && dpkg -x restic_*.deb unpacked)
    install -m 755 "$scratch/unpacked/usr/bin/restic" "$prefix/bin/restic"
}

install_borg() {
    packages python3-venv python3-dev gcc pkg-config libacl1-dev libssl-dev liblz4-dev libzstd-dev libxxhash-dev
    /usr/bin/python3 -m venv "$prefix/lib/borg-venv"
    "$prefix/lib/borg-venv/bin/pip" install -q "borgbackup==$borg_version.*"
    ln -sf "$prefix/lib/borg-venv/bin/borg" "$prefix/bin/borg"
}

install_bupstash() {
    packages libsodium-dev pkg-config gcc
    CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$scratch/target}" cargo install --locked --root "$prefix" --version "$bupstash_version" bupstash
}

install_rustic() {
    packages gcc pkg-config
    CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$scratch/target}" cargo install --locked --root "$prefix" --version "^$rustic_version" rustic-rs
}

failed=()
for tool in "${wanted[@]}"; do
    if command -v "$tool" >/dev/null; then
        echo "$tool: is there ($(command -v "$tool"))"
    elif ! declare -F "install_$tool" >/dev/null; then
        echo "$tool: no way to install it is known" >&2
        failed+=("$tool")
    # A subshell of its own: `set -e` does not act inside a condition.
    elif bash -c "set -euo pipefail; $(declare -p prefix scratch borg_version bupstash_version rustic_version); $(declare -f); install_$tool"; then
        echo "$tool: installed in $prefix/bin"
    else
        failed+=("$tool")
    fi
done
[ ${#failed[@]} -eq 0 ] || { echo "not installed: ${failed[*]}" >&2; exit 1; }
