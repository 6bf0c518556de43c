"""One box on one slice; its mask is propagated up and down until the object ends."""

from sample_scan import write_sample

from napari_qmedsam import Box3D, open_session

box = write_sample()["left kidney"]
middle = box.middle_slice

session = open_session("ct.nii.gz", "demo")
session.add_object(Box3D.on_slice(middle, box.in_plane), "left kidney")

# Segmented and propagated in one step of undo, and streamed slice by slice.
for update in session.iter_propagate(middle):
    print(f"slice {update.slice_index}: {update.done} of {update.total} at most")

kidney = session.objects[1]
print(f"The kidney reaches over slices {kidney.box.z_min} to {kidney.box.z_max - 1}.")
session.undo()
assert not session.labels.any()
