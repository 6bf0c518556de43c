"""The generated CT that the examples work on, with the true labels of its organs."""

from napari_qmedsam import Box3D, write_labels, write_volume
from napari_qmedsam.evaluation.matching import boxes_of_labels
from napari_qmedsam.phantoms.abdomen import abdomen_case
from napari_qmedsam.volumes import Modality


def write_sample() -> dict[str, Box3D]:
    """Write ct.nii.gz and reference.nii.gz; return a tight box for every organ."""
    case = abdomen_case(Modality.CT, shape=(24, 128, 128), spacing_mm=(10.0, 2.7, 2.7))
    write_volume(case.volume, "ct.nii.gz")
    write_labels(case.labels.array, case.volume, "reference.nii.gz")
    return {o.name: o.box for o in boxes_of_labels(case.labels.array, case.names)}
