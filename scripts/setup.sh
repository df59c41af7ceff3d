#!/bin/sh
# setup.sh PYTHON DIRECTORY: check what must be on the machine, then make the virtual environment of the Makefile.
set -eu
python=$1
directory=$2

need() {
    printf '%s\n' "pytest-blcperf: $1" "hint: $2" >&2
    exit 1
}

command -v git >/dev/null || need "git is missing: the gate measures the base in a git worktree" "sudo apt-get install git"
command -v "$python" >/dev/null || need "$python is missing" "sudo apt-get install python3 python3-venv"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || need \
    "$python is $("$python" -V 2>&1), and Python 3.10 or newer is needed" \
    "install one (sudo apt-get install python3.11 python3.11-venv) and run: make PYTHON=python3.11 ..."
"$python" -c 'import venv, ensurepip' 2>/dev/null || need \
    "$python has no venv module: Debian and Ubuntu package it apart" \
    "sudo apt-get install $("$python" -c 'import sys; print("python3.%d-venv" % sys.version_info[1])')"

echo "making $directory with $("$python" -V) ..."
"$python" -m venv --clear "$directory"
# pip learned --group in 25.1.
"$directory/bin/python" -m pip install --quiet 'pip>=25.1' &&
    "$directory/bin/python" -m pip install --quiet --editable . --group dev --group ci ||
    need "pip could not install the dependencies (its message is above)" \
        "they come from the package index: check the network, or PIP_INDEX_URL and PIP_PROXY"
# Apart, and without what they depend on: the project's own tests run without them.
"$directory/bin/python" -m pip install --quiet --no-deps --target "$directory/neighbours" --group neighbours ||
    echo "pytest-blcperf: the plugins of tests/matrix could not be installed; their tests will be skipped" >&2
