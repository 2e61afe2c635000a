#!/usr/bin/env bash
# Provides a tool chain for wasm32-unknown-unknown where rustup cannot fetch
# that target: Debian's compiler and the sources of its standard library, which
# cargo then builds itself. cargo and rust-lld come from rustup.
#
# Prints KEY=VALUE lines on standard output: RUSTC, RUST_SRC, LD_LIBRARY_PATH,
# VERSION. Downloads and unpacks (no root needed) into a cache folder once;
# WEIR_TOOLCHAIN_CACHE overrides where that is.
set -euo pipefail

version=1.96.0+dfsg1-1~deb12u2
packages=(
    "rustc-web=$version"
    "libstd-rust-web-1.96=$version"
    "libstd-rust-web-dev=$version"
    "rust-web-src=$version"
    "libllvm22=1:22.1.8-1~deb12u1"
)
# A change of the list of packages or of the way to unpack them needs a new name.
cache=${WEIR_TOOLCHAIN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/weir/wasm-toolchain}
root=$cache/debian-$version

die() {
    echo "toolchain.sh: $1" >&2
    exit 1
}

if [[ ! -e $root/complete ]]; then
    command -v apt-get >/dev/null && command -v dpkg >/dev/null ||
        die "no apt-get and dpkg here; install the target with 'rustup target add wasm32-unknown-unknown' instead"
    [[ $(dpkg --print-architecture) == amd64 ]] ||
        die "only known to work on amd64; install the target with 'rustup target add wasm32-unknown-unknown' instead"
    mkdir -p "$cache"
    work=$(mktemp -d "$cache/unpacking.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    cd "$work"
    echo "toolchain.sh: downloading 131 MB of Debian packages into $cache" >&2
    if ! apt-get download "${packages[@]}" >&2; then
        echo "toolchain.sh: the package lists may be missing or old; updating them" >&2
        apt-get update >&2 || die "'apt-get update' failed; run it as root, then start again"
        apt-get download "${packages[@]}" >&2 ||
            die "cannot download ${packages[*]}; they are in the Debian 12 archive (security or updates)"
    fi
    for package in *.deb; do
        dpkg -x "$package" root
        rm "$package"
    done
    touch root/complete
    # Two runs at once both unpack; the first one wins.
    mv -T root "$root" 2>/dev/null || [[ -e $root/complete ]] || die "cannot move the tool chain to $root"
fi

echo "RUSTC=$root/usr/bin/rustc"
echo "RUST_SRC=$root/usr/lib/rustlib/src/rust"
echo "LD_LIBRARY_PATH=$root/usr/lib/x86_64-linux-gnu"
echo "VERSION=$(env LD_LIBRARY_PATH="$root/usr/lib/x86_64-linux-gnu" "$root/usr/bin/rustc" --version)"
