#!/bin/sh
# native_tools.sh: install what the tests of native profiles compile, run and compare with (Debian, Ubuntu; as root).
# Tests that miss one of these skip, and name the package.
set -eu
command -v apt-get >/dev/null || {
    printf '%s\n' "native_tools.sh: this is no Debian or Ubuntu: apt-get is missing" \
        "hint: install gcc, g++, rustc, binutils, llvm, elfutils' debuginfod, perf and a cross gcc for aarch64" >&2
    exit 1
}
case $(. /etc/os-release && echo "$ID") in
ubuntu) perf="linux-tools-generic" ;;
*) perf="linux-perf" ;;
esac
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    gcc g++ rustc libc6-dev binutils util-linux llvm debuginfod gcc-aarch64-linux-gnu libc6-dev-arm64-cross "$perf" ||
    {
        printf '%s\n' "native_tools.sh: apt-get could not install them (its message is above)" \
            "hint: another apt-get may be running; else check the network and /etc/apt" >&2
        exit 1
    }
