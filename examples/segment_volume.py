"""From 3D boxes to a label file on the scan's own grid."""

from sample_scan import write_sample

from napari_qmedsam import open_session

boxes = write_sample()

session = open_session("ct.nii.gz", "demo", window="soft-tissue")
for name in ("spleen", "left kidney", "aorta"):
    session.add_object(boxes[name], name)

print(session.segment())  # all objects over all their slices
path = session.save_labels("labels.nii.gz")
print(f"Labels: {path}")
