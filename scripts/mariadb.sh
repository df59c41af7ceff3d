#!/bin/sh
# mariadb.sh FOLDER COMMAND [ARGUMENT ...]: run COMMAND while a MariaDB server of its own, in FOLDER, is under sysbench.
# COMMAND finds the server's process id in $MARIADB_PID. What is missing is installed (Debian, Ubuntu; as root).
set -eu
[ $# -ge 2 ] || { sed -n '2,3s/^# //p' "$0" >&2; exit 2; }
mkdir -p "$1"
folder=$(cd "$1" && pwd)
shift

if ! command -v mariadbd >/dev/null || ! command -v sysbench >/dev/null; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 install -y -qq mariadb-server sysbench >/dev/null
fi

user=$(id -un)
socket=$folder/socket
if [ ! -d "$folder/data/mysql" ]; then
    mariadb-install-db --no-defaults --user="$user" --datadir="$folder/data" --auth-root-authentication-method=normal >/dev/null
fi
mariadbd --no-defaults --user="$user" --datadir="$folder/data" --socket="$socket" --skip-networking \
    --innodb-buffer-pool-size=256M --pid-file="$folder/pid" >"$folder/log" 2>&1 &
server=$!
load=
trap 'kill $load $server 2>/dev/null; wait 2>/dev/null' EXIT INT TERM
tries=0
until mariadb-admin --no-defaults --socket="$socket" --user=root ping >/dev/null 2>&1; do
    tries=$((tries + 1))
    if [ $tries -gt 120 ] || ! kill -0 $server 2>/dev/null; then
        printf '%s\n' "mariadbd did not start; its last words:" >&2
        tail -n 5 "$folder/log" >&2
        exit 1
    fi
    sleep 0.5
done

bench() {
    sysbench oltp_read_write --db-driver=mysql --mysql-socket="$socket" --mysql-user=root --mysql-db=test \
        --tables=4 --table-size=20000 "$@"
}
mariadb --no-defaults --socket="$socket" --user=root -e 'create database if not exists test'
bench cleanup >/dev/null 2>&1 || true
bench prepare >/dev/null
bench --threads=8 --time=3600 run >"$folder/sysbench" 2>&1 &
load=$!
sleep 2
MARIADB_PID=$server "$@"
