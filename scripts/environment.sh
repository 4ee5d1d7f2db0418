# Sourced by demo, test and check: `prepare LOCK` makes .venv hold exactly requirements/LOCK.txt and this project.
#
# One way everywhere: `venv --without-pip` plus the pip wheel in scripts/vendor. Debian and Ubuntu ship a python3 without
# ensurepip, so a plain `python3 -m venv` fails there. uv is used instead where it is at hand, because it is faster.

set -eu
export PYTHONUTF8=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_INPUT=1
case ${LC_ALL:-${LC_CTYPE:-${LANG:-}}} in *[Uu][Tt][Ff]*) ;; *) export LC_ALL=C.UTF-8 ;; esac
unset PYTHONPATH PYTHONHOME PIP_USER PIP_TARGET PIP_PREFIX PIP_REQUIRE_VIRTUALENV CDPATH
ROOT=$(cd "$(dirname "$0")/.." && pwd -P)
VENV=$ROOT/.venv
UNFINISHED=$VENV/.deskbell-unfinished # there while an installation runs: found at start, it was interrupted

say() { printf '%s\n' "$*" >&2; }
die() {
    say "${0##*/}: $*"
    exit 1
}

# The first Python that is new enough and starts ($PYTHON alone, if it is set).
find_python() {
    local python
    [ -z "${PYTHON:-}" ] || set -- "$PYTHON"
    [ $# != 0 ] || set -- python3.13 python3.12 python3.11 python3
    for python in "$@"; do
        if "$python" -c 'import sys, ssl, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            command -v "$python"
            return
        fi
    done
    die "no Python 3.11 or newer found${PYTHON:+ at PYTHON=$PYTHON}: install python3.11, or set PYTHON=/path/to/python3"
}

# What an environment is made from. Kept inside it as a stamp, so a change of any part is seen by comparing.
recipe() {
    printf '%s\n' "$ROOT" "$("$VENV/bin/python" -I -S -c 'import sys; print(sys.version_info[:2])')"
    cat "$ROOT/requirements/$1.txt" "$ROOT/pyproject.toml"
}

is_current() {
    [ -f "$VENV/.deskbell-$1" ] && recipe "$1" 2>/dev/null | cmp -s - "$VENV/.deskbell-$1"
}

# test.txt holds all of runtime.txt in the same versions, so an environment for the tests also runs the demo.
is_enough() {
    is_current "$1" || { [ "$1" = runtime ] && is_current test; }
}

prepare() {
    is_enough "$1" && return
    # Two at once: the second waits, then finds the work done. The descriptor is closed before anything else starts.
    exec 9<"$ROOT/pyproject.toml"
    if command -v flock >/dev/null 2>&1; then flock 9; fi
    is_enough "$1" || build "$1"
    exec 9<&-
}

build() {
    local python
    python=$(find_python) || exit 1
    if [ -e "$VENV" ] && ! is_usable; then
        say "Rebuilding .venv: it is unfinished, has moved, or its Python is gone."
        rm -rf "$VENV" || die "cannot remove $VENV: delete it, or run as the user who made it"
    fi
    mkdir -p "$VENV" 2>/dev/null && touch "$UNFINISHED" 2>/dev/null ||
        die "cannot write to $VENV: copy the project to a folder you own, or run as the user who owns it"
    rm -f "$VENV/.deskbell-runtime" "$VENV/.deskbell-test"
    say "Installing the packages of requirements/$1.txt into .venv (once)."
    [ -x "$VENV/bin/python" ] || "$python" -m venv --without-pip "$VENV" || die "$python cannot make a virtual environment"
    install -r "$ROOT/requirements/$1.txt" --require-hashes ||
        die "the packages could not be installed (reason above): is there a network, and space left?"
    install -e "$ROOT" --no-deps --no-build-isolation || die "the project itself could not be installed (reason above)"
    recipe "$1" >"$VENV/.deskbell-new"
    mv "$VENV/.deskbell-new" "$VENV/.deskbell-$1"
    rm -f "$UNFINISHED"
}

# Finished (ours or made by hand), of this place, and with a Python that starts and still is the one it was made with.
is_usable() {
    [ ! -e "$UNFINISHED" ] &&
        "$VENV/bin/python" -c 'import sys, venv; from pathlib import Path
here = Path(sys.prefix)
packages = here / f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
sys.exit(sys.version_info < (3, 11) or not packages.is_dir())' >/dev/null 2>&1 &&
        for stamp in "$VENV"/.deskbell-runtime "$VENV"/.deskbell-test; do
            [ ! -f "$stamp" ] || [ "$(head -n 1 "$stamp")" = "$ROOT" ] || return 1
        done
}

# uv does not read pip's configuration (mirrors, proxies), so where it fails pip has the last word.
install() {
    if command -v uv >/dev/null 2>&1 && uv pip install -q --python "$VENV/bin/python" "$@"; then return; fi
    local wheel
    wheel=$(pip_wheel) || exit 1
    "$VENV/bin/python" "$wheel/pip" install -q "$@"
}

pip_wheel() {
    "$VENV/bin/python" -I - "$ROOT/scripts/vendor" <<'PROGRAM' || die "scripts/vendor holds another pip than pip.sha256 says"
import hashlib, sys
from pathlib import Path
folder = Path(sys.argv[1])
expected, name = (folder / "pip.sha256").read_text().split()
if hashlib.sha256((folder / name).read_bytes()).hexdigest() != expected:
    sys.exit(1)
print(folder / name)
PROGRAM
}
