#!/bin/sh
# forky_root.sh DIRECTORY: a Debian forky root with Python 3.14 and 3.15, ready to run this repository's programs in.
#
#     sudo sh scripts/forky_root.sh /var/tmp/forky
#     sudo .venv/bin/python tests/accuracy/sampler_accuracy.py --python 'chroot /var/tmp/forky python3.15' ...
#     sudo sh scripts/forky_root.sh --remove /var/tmp/forky
#
# The mirror is the one this machine's apt uses. /proc and this repository are mounted in the root; --remove unmounts
# them first, so use it rather than rm.
set -eu

need() {
    printf '%s\n' "forky_root: $1" "hint: $2" >&2
    exit 1
}

remove=
if [ "${1:-}" = --remove ]; then
    remove=yes
    shift
fi
[ $# -eq 1 ] || need "one directory is needed" "sh scripts/forky_root.sh [--remove] DIRECTORY"
[ "$(id -u)" -eq 0 ] || need "root is needed to make a root file system" "sudo sh scripts/forky_root.sh $1"
repository=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$1"
directory=$(cd "$1" && pwd)

if [ -n "$remove" ]; then
    for mounted in "$directory/proc" "$directory$repository"; do
        if mountpoint -q "$mounted"; then umount "$mounted"; fi
    done
    # Nothing of another file system is followed, should something be mounted there still.
    exec rm -rf --one-file-system "$directory"
fi

if [ ! -x "$directory/usr/bin/python3.15" ]; then
    command -v mmdebstrap >/dev/null || need "mmdebstrap is missing" "sudo apt-get install mmdebstrap"
    [ -z "$(ls -A "$directory")" ] || need "$directory is not empty, and no such root" "choose another directory"
    # deb822 sources and one-line ones: the first address that ends in /debian.
    mirror=$(
        cat /etc/apt/sources.list.d/*.sources /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
            sed -n -e '/^#/d' -e 's/^URIs: *//p' -e 's/^deb *\(\[[^]]*\] *\)\{0,1\}\([a-z]*:[^ ]*\).*/\2/p' |
            tr ' ' '\n' | grep '/debian/*$' | head -n 1
    )
    [ -n "$mirror" ] || need "no Debian mirror in /etc/apt/sources.list or sources.list.d" "add one"
    # A mirror may be a snapshot, whose signature has run out.
    mmdebstrap --quiet --variant=apt --include=python3.14,python3.15,python3.14-venv \
        --aptopt='Acquire::Check-Valid-Until "false"' forky "$directory" "$mirror"
fi
mountpoint -q "$directory/proc" || mount -t proc proc "$directory/proc"
mkdir -p "$directory$repository"
mountpoint -q "$directory$repository" || mount --bind "$repository" "$directory$repository"
echo "chroot $directory python3.15"
