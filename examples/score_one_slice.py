"""A model without a session: masks of one slice, and how well they fit."""

from sample_scan import write_sample

from napari_qmedsam import (
    dice,
    load_model,
    normalized_surface_distance,
    read_labels,
    read_volume,
)

boxes = write_sample()
volume = read_volume("ct.nii.gz")
reference = read_labels("reference.nii.gz", like=volume).array

box = boxes["left kidney"]
z = box.middle_slice
model = load_model("demo")
(mask,) = model.segment_slice(volume, z, [box.in_plane])

values = reference[z][mask]  # the label that most of the mask lies on
truth = reference[z] == max(set(values.tolist()), key=values.tolist().count)
spacing = volume.spacing_mm[1:]
print(f"DSC {dice(mask, truth):.3f}")
print(f"NSD {normalized_surface_distance(mask, truth, spacing, 2.7):.3f} at 2.7 mm")
