#!/bin/sh
# forky_root.sh DIRECTORY [PACKAGE...]: a Debian forky root with Python 3.14 and 3.15, for the accuracy runs of docs/sampling.md.
#
#     sudo sh scripts/forky_root.sh /var/tmp/forky
#     sudo chroot /var/tmp/forky python3.14 -V
#
# The mirror is the one this machine's apt uses. What a root needs to be worked in (/proc, /tmp and this repository) is
# mounted by scripts/in_root.sh.
set -eu

need() {
    printf '%s\n' "forky_root: $1" "hint: $2" >&2
    exit 1
}

[ $# -ge 1 ] || need "no directory given" "sh scripts/forky_root.sh DIRECTORY"
directory=$1
shift
[ "$(id -u)" -eq 0 ] || need "root is needed to make a root file system" "sudo sh scripts/forky_root.sh $directory"
command -v mmdebstrap >/dev/null || need "mmdebstrap is missing" "sudo apt-get install mmdebstrap"
if [ -x "$directory/usr/bin/python3.14" ]; then
    echo "$directory is there already"
    exit 0
fi
[ ! -e "$directory" ] || need "$directory exists and is no such root" "choose another directory, or remove it"

# deb822 sources and one-line ones; of a line, the first word that is an address.
mirror=$(
    cat /etc/apt/sources.list.d/*.sources /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
        sed -n -e '/^#/d' -e 's/^URIs: *//p' -e 's/^deb *\(\[[^]]*\] *\)\{0,1\}\([a-z]*:[^ ]*\).*/\2/p' |
        tr ' ' '\n' | grep '/debian/*$' | head -n 1
)
[ -n "$mirror" ] || need "no Debian mirror in /etc/apt/sources.list or sources.list.d" "add one"

packages=python3.14,python3.15,python3.14-venv
for package in "$@"; do
    packages=$packages,$package
done
# A mirror may be a snapshot whose signature has run out.
exec mmdebstrap --quiet --variant=apt --include="$packages" --aptopt='Acquire::Check-Valid-Until "false"' \
    forky "$directory" "$mirror"
