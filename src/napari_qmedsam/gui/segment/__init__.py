"""Boxes, points and masks on the layers of a scan."""
