#!/usr/bin/env bash
# Install a wheel or an sdist into an empty environment and use it, without any extra:
# what a user of the shell has. With QT the extra of that binding is added afterwards,
# and napari gives a first mask.
#
#   scripts/try-package.sh dist/napari_qmedsam-0.1.0-py3-none-any.whl
#   QT=pyside6 scripts/try-package.sh dist/napari_qmedsam-0.1.0-py3-none-any.whl
#
# Variables:  PYTHON   interpreter that makes the environment
#             PIP_ARGS options of pip install, like -c constraints.txt
#             QT       pyqt6 or pyside6
#             NAPARI   bound of napari, like napari<0.7
set -euo pipefail

package=$(realpath "$1")
here=$(realpath "$(dirname "$0")")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"  # nothing of a clone is in reach

"${PYTHON:-python3}" -m venv venv
# shellcheck disable=SC2086  # several options are meant
venv/bin/python -m pip install -q ${PIP_ARGS:-} "$package"
unset PYTHONPATH
export QMEDSAM_HOME=$scratch/home QMEDSAM_CACHE=$scratch/cache

venv/bin/qmedsam --version
venv/bin/qmedsam demo --model demo --out demo
venv/bin/qmedsam segment demo/ct_phantom.nii.gz --model demo \
    --box3d 20,20,5,60,60,8 -o labels.nii.gz
venv/bin/python - <<'EOF'
import sys
from importlib.util import find_spec

import napari_qmedsam

labels = napari_qmedsam.read_labels("labels.nii.gz")
assert labels.array.any(), "nothing was segmented"
present = [name for name in ("napari", "qtpy", "brevitas", "nncf") if find_spec(name)]
assert not present, f"installed though no extra was asked for: {present}"
print("segmented", int(labels.array.astype(bool).sum()), "voxels; no extra is needed")
EOF

case "${QT:-}" in
"") exit ;;
pyqt6) extra=gui ;;
*) extra=$QT ;;
esac
# shellcheck disable=SC2086
venv/bin/python -m pip install -q ${PIP_ARGS:-} "$package[$extra]" ${NAPARI:+"$NAPARI"}
QT_API=$QT "$here/headless.sh" venv/bin/python "$here/first_mask.py"
