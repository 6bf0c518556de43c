#!/usr/bin/env bash
# Write requirements-dev.lock: every package that development installs, with its
# version and the checksums of its files, for Linux, macOS and Windows.
#
#   scripts/lock.sh
#
# Versions of constraints.txt stay. Install from it with
#   pip install --require-hashes -r requirements-dev.lock
# from whatever index pip is set up to ask: the file names none.
set -euo pipefail
cd "$(dirname "$0")/.."

lock=requirements-dev.lock
{
    echo "# Every package of development with the checksums of its files."
    echo "# Written by scripts/lock.sh; do not edit."
    .venv/bin/uv pip compile pyproject.toml --extra gui --extra onnx --extra dicom --extra qat \
        --extra nncf --extra cluster --group dev --group docs --constraints constraints.txt \
        --universal --python-version 3.11 --generate-hashes --quiet \
        --no-emit-index-url --no-emit-find-links --no-header --no-annotate
} >"$lock.part"
mv "$lock.part" "$lock"
