#!/bin/sh
# ci-tools.sh DIRECTORY: install what executes GitLab's template in tests, at a pinned version. Without node it says so and
# ends well: the tests that need it skip with the reason.
set -eu
directory=${1:-.tools/gitlab}
version=4.60.1
done_file=$directory/.gitlab-ci-local-$version

[ -f "$done_file" ] && exit 0
# A throw-away machine is the project's own to furnish; a developer's is not.
if [ -n "${CI:-}" ] && [ "$(id -u)" = 0 ] && ! command -v rsync >/dev/null && command -v apt-get >/dev/null; then
    { apt-get update -q && apt-get install -yq rsync; } >/dev/null 2>&1 || true
fi
for program in node npm rsync; do
    if ! command -v "$program" >/dev/null; then
        echo "pytest-blcperf: no $program, so GitLab's template is not executed by the tests (sudo apt-get install nodejs npm rsync)" >&2
        exit 0
    fi
done
echo "installing gitlab-ci-local $version in $directory ..."
mkdir -p "$directory"
if npm install --prefix "$directory" --no-audit --no-fund --no-package-lock --loglevel=error "gitlab-ci-local@$version"; then
    touch "$done_file"
else
    echo "pytest-blcperf: npm could not install gitlab-ci-local; the tests that need it skip" >&2
fi
