"""Variants of a model side by side."""
