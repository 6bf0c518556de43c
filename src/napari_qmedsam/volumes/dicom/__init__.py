"""DICOM: headers through pydicom, pixels through pydicom and GDCM.

A series is a list of frames, wherever they are stored: one per file in a
classic series, many in an enhanced object. Every check is made on the frames.
"""
