# shellcheck shell=bash
# Sourced by the scripts beside it: the repository's root as the working directory, and its toolchain on the PATH.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

# rustup's place, which a root shell or a CI job may not have on its PATH.
if ! command -v cargo >/dev/null && [ -x "$HOME/.cargo/bin/cargo" ]; then
    PATH="$HOME/.cargo/bin:$PATH"
fi

# Ends the script with one sentence.
fail() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

# Says what comes next.
step() {
    if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
        printf '\n\033[1m%s\033[0m\n' "$*"
    else
        printf '\n%s\n' "$*"
    fi
}

# The Rust version the workspace asks for, and the installed one (empty when there is none).
rust_needed() {
    sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml
}
rust_installed() {
    command -v cargo >/dev/null && rustc --version 2>/dev/null | cut -d' ' -f2
}

# at_least VERSION NEEDED
at_least() {
    [ -n "$1" ] && [ "$(printf '%s\n' "$2" "$1" | sort --version-sort | head -n1)" = "$2" ]
}
