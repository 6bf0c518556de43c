"""What four and two bits per weight cost: a table that prints itself."""

from sample_scan import write_sample

from napari_qmedsam import open_session

boxes = write_sample()

session = open_session("ct.nii.gz", "demo")
for name in ("spleen", "left kidney", "aorta"):
    session.add_object(boxes[name], name)

# RTN is the quickest method; the default, Permutation-COMQ, is the most exact one.
for bits in (4, 2):
    session.quantize(bits=bits, method="rtn", slices=4)

table = session.compare("reference.nii.gz", tolerance_mm=3.0)
print(table)
table.save("table.csv")
