"""Labelled slices by modality: data folders and phantoms under one roof.

No torch here; training and evaluation both read through this.
"""
