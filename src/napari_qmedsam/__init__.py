"""Segment CT and MR volumes from boxes with MedSAM-family models.

Importing this package loads neither torch nor Qt nor napari; each part loads
what it needs when it is first used.
"""

__version__ = "0.1.0"
