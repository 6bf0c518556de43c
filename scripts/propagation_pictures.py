"""Make pictures of docs/segmenting.md: from few and careless boxes to whole objects.

    python scripts/propagation_pictures.py [--out docs/images]

The demo model on a phantom; white is the truth, red what the boxes give.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

from napari_qmedsam import Session, load_model
from napari_qmedsam.phantoms.abdomen import abdomen_case
from napari_qmedsam.preprocessing import slice_image
from napari_qmedsam.prompts import Absence, Box2D, Box3D, Piece
from napari_qmedsam.segmentation.propagation import Follow
from napari_qmedsam.segmentation.tidying import Tidying
from napari_qmedsam.volumes.volume import Modality

mpl.use("Agg")
import matplotlib.pyplot as plt

SEED, FIRST, LAST = 900, 14, 34
"""Of the phantom, and the slices of it that are used."""


@dataclass(frozen=True)
class Row:
    """A row of a picture: masks of the same slices."""

    title: str
    mask: NDArray[np.bool_]


def draw(
    path: Path,
    session: Session,
    truth: NDArray[np.bool_],
    slices: Sequence[int],
    rows: Sequence[Row],
) -> None:
    """Write the slices of each row, cut to the object, with edges over them."""
    around = Box2D.enclosing(truth.any(axis=0))
    ys = slice(max(int(around.y_min) - 12, 0), int(around.y_max) + 12)
    xs = slice(max(int(around.x_min) - 12, 0), int(around.x_max) + 12)
    figure, axes = plt.subplots(
        len(rows),
        len(slices),
        figsize=(1.6 * len(slices), 1.75 * len(rows)),
        squeeze=False,
    )
    for row, line in zip(rows, axes, strict=True):
        for z, axis in zip(slices, line, strict=True):
            image = slice_image(session.volume.array, z, session.window)
            axis.imshow(image[ys, xs], cmap="gray", vmin=0, vmax=255)
            for mask, colour in ((truth[z], "white"), (row.mask[z], "red")):
                if mask[ys, xs].any():
                    axis.contour(mask[ys, xs], [0.5], colors=colour, linewidths=0.9)
            axis.set_xticks([])
            axis.set_yticks([])
            axis.set_xlabel(f"slice {z}", fontsize=7)
        line[0].set_ylabel(row.title, fontsize=7)
    figure.tight_layout(pad=0.4)
    figure.savefig(path, dpi=80, bbox_inches="tight", pad_inches=0.05)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    out = parser.parse_args().out
    case = abdomen_case(Modality.CT, SEED)
    volume = replace(case.volume, array=case.volume.array[FIRST:LAST].copy())
    labels = case.labels.array[FIRST:LAST]
    numbers = {name: number for number, name in case.names.items()}
    segmenter = load_model("demo")

    def fresh(box: Box3D) -> Session:
        made = Session(volume, segmenter)
        made.add_object(box)
        return made

    def box_on(truth: NDArray[np.bool_], z: int) -> Box2D:
        return Box2D.enclosing(truth[z])

    # One box propagated.
    truth = labels == numbers["left kidney"]
    there = np.flatnonzero(truth.any(axis=(1, 2)))
    middle = int(there[len(there) // 2])
    one = Box3D.on_slice(middle, box_on(truth, middle))
    propagated = fresh(one)
    propagated.propagate()
    followed = fresh(replace(one, z_min=0, z_max=len(truth)))
    followed.segment(follow=Follow.MASK)
    shown = np.linspace(there[0], min(there[-1] + 1, len(truth) - 1), 8).astype(int)
    rows = [
        Row("boxes of masks", followed.labels > 0),
        Row("propagated", propagated.labels > 0),
    ]
    draw(out / "propagation.png", propagated, truth, shown, rows)
    # Two key boxes.
    truth = labels == numbers["aorta"]
    there = np.flatnonzero(truth.any(axis=(1, 2)))
    first, last = int(there[0]), int(there[-1])
    keyed = fresh(Box3D.on_slice(first, box_on(truth, first)))
    keyed.set_box(1, last, box_on(truth, last))
    keyed.segment()
    shown = np.linspace(first, last, 8).astype(int)
    rows = [Row("two keys", keyed.labels > 0)]
    draw(out / "key-shapes.png", keyed, truth, shown, rows)
    # A careless box, pieces and an empty slice.
    truth = labels == numbers["left kidney"]
    tight = box_on(truth, middle)
    moved = replace(tight, x_min=tight.x_min + 4, y_max=tight.y_max - 4)
    masks = []
    for tighten in (False, True):
        loose = fresh(Box3D.on_slice(middle, moved))
        loose.tighten = tighten
        loose.segment()
        masks.append(loose.labels > 0)
    rows = [Row("as drawn", masks[0]), Row("second look", masks[1])]
    draw(out / "second-look.png", loose, truth, [middle], rows)
    kidneys = labels == numbers["left kidney"]
    both = kidneys | (labels == numbers["right kidney"])
    pieces = fresh(Box3D.on_slice(middle, box_on(kidneys, middle)))
    other = Piece.of(middle, box_on(both & ~kidneys, middle))
    absent = (Absence(middle - 3), Absence(middle + 3))
    pieces.change_object(1, pieces=(other,), absences=absent)
    pieces.propagate()
    shown = range(middle - 3, middle + 4)
    rows = [Row("one object", pieces.labels > 0)]
    draw(out / "pieces.png", pieces, both, shown, rows)
    rows = [Row("propagated", propagated.labels > 0)]
    propagated.tidy(1, Tidying(smooth_mm=5.0, largest_piece=True, fill_holes=True))
    rows.append(Row("tidied", propagated.labels > 0))
    draw(out / "tidying.png", propagated, kidneys, range(middle - 3, middle + 4), rows)


if __name__ == "__main__":
    main()
