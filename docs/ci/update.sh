#!/bin/sh
# What a scheduled job runs, for any CI: newer versions, built and recorded, on a branch of their own.
# The argument is the branch's name. diff.md says what changed, for whoever opens the pull request.
set -eu

oclock update
oclock build --record --no-load

if git diff --quiet -- lockfile.toml; then
    exit 0
fi
oclock diff --format markdown HEAD > diff.md
git switch --quiet --create "$1"
git commit --quiet --message "lockfile: newer versions" -- lockfile.toml
git push --quiet --force origin "$1"
