#!/bin/sh
# report_tools.sh DIRECTORY: install what the report tests open files with: Chromium with its driver (Debian's), and,
# into DIRECTORY, speedscope and the Firefox Profiler's command line (npm). Tests that lack one of them skip.
set -eu
directory=$1
SPEEDSCOPE=1.25.0
PROFILER_CLI=0.10.0
NODE=24

if ! command -v chromium >/dev/null || ! command -v chromedriver >/dev/null; then
    command -v apt-get >/dev/null || {
        printf '%s\n' "pytest-blcperf: no chromium and no apt-get here" "hint: install Chromium and chromedriver yourself" >&2
        exit 1
    }
    as_root=
    [ "$(id -u)" = 0 ] || as_root=sudo
    $as_root apt-get update -q
    $as_root apt-get install -y -q --no-install-recommends chromium chromium-driver fonts-dejavu-core
fi

if command -v npm >/dev/null; then
    mkdir -p "$directory"
    # The profiler's command line needs a newer Node.js than Debian has; it comes as a package too.
    npm install --silent --no-fund --no-audit --prefix "$directory" \
        "speedscope@$SPEEDSCOPE" "@firefox-devtools/profiler-cli@$PROFILER_CLI" "node@$NODE"
else
    echo "no npm here: the tests that open files in speedscope and the Firefox Profiler will skip"
fi
