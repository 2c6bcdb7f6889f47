#!/bin/sh
# What a pull request's job runs, for any CI. The argument is the branch that the change goes to, such as origin/main.
# It leaves diff.md for a comment, diff.sarif and audit.sarif for annotations, and ends with 0 when nothing is against it.
set -eu

base=$(git merge-base "$1" HEAD)

oclock update --check
oclock diff --format markdown "$base" HEAD > diff.md
oclock diff --format sarif "$base" HEAD > diff.sarif
oclock audit --format sarif > audit.sarif
oclock diff --fail-on error "$base" HEAD
