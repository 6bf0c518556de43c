"""What scores are taken by, apart from the code that takes them.

Commands and panels name these as their defaults, and load nothing for it.
"""

TOLERANCE_MM = 2.0
"""How far two surfaces may lie apart and still agree, for the NSD."""

MINIMUM_VOXELS = 100
"""Smaller cuts of a class are not scored: on them a voxel decides the figure."""
