# Sourced by the scripts: makes the virtual environment .venv at the project's root and activates it.
# Argument: the pip requirement to install, "." or ".[dev]".

find_python() {
    for candidate in python3 python3.14 python3.13 python3.12 python3.11 python3.10; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "tilefarm needs Python 3.10 or newer and found none on the PATH; install one first" >&2
    return 1
}

make_environment() {
    if [ ! -x .venv/bin/pip ]; then
        python=$(find_python) || return 1
        "$python" -m venv .venv || {
            echo "$python cannot make a virtual environment; on Debian and Ubuntu install python3-venv" >&2
            return 1
        }
    fi
    # shellcheck disable=SC1091
    . .venv/bin/activate
    python -m pip install --quiet --disable-pip-version-check --editable "$1"
}
