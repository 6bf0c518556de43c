#!/usr/bin/env bash
# Look up known vulnerabilities of what development installs.
#
#   scripts/audit.sh [PIP-AUDIT-OPTION...]
#
# requirements-dev.lock is asked about as it is, version by version, so nothing is
# resolved or installed; one that cannot be looked up is a failure. pip-audit is of the
# group lint, and asks the package index of pip over the network.
set -euo pipefail
cd "$(dirname "$0")/.."

for place in .venv/bin/pip-audit "$(command -v pip-audit || true)"; do
    [ -x "$place" ] || continue
    "$place" --requirement requirements-dev.lock \
        --require-hashes --disable-pip --strict --desc off "$@" && exit 0
    echo "Not audited, or not clean: see above. 'Dependency not found' and errors of the" >&2
    echo "network mean that nothing was looked up, since the index that pip asks keeps no" >&2
    echo "vulnerabilities; run this where the public index can be reached." >&2
    exit 1
done
echo "pip-audit is not installed; run: pip install -c constraints.txt pip-audit" >&2
exit 2
