"""What scores are taken by, apart from the code that takes them.

Commands and panels name these as their defaults, and load nothing for it.
"""

from enum import Enum

TOLERANCE_MM = 2.0
"""How far two surfaces may lie apart and still agree, for the NSD."""

MINIMUM_VOXELS = 100
"""Smaller cuts of a class are not scored: on them a voxel decides the figure."""


class Matching(str, Enum):
    """Which label of the reference an object is scored against."""

    NUMBER = "number"
    """The one with its number. Every number of either side counts."""

    NAME = "name"
    """The one with its name. Every name of either side counts."""

    OVERLAP = "overlap"
    """The one it shares most with, each reference label once (the assignment with
    the largest sum of DSC). Reference labels that nothing lies on are left out: they
    may be all the organs that nobody drew."""
