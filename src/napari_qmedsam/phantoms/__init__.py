"""Procedural phantoms: slices to train on, and a volume to try things with.

Nothing here is a picture of a patient: every pixel comes from a seed. The
modules load OpenCV, so import them where they are used:

``random_slices``
    :func:`~napari_qmedsam.phantoms.random_slices.random_slice`, the
    mixture the demo model is trained on.
``abdomen``
    :func:`~napari_qmedsam.phantoms.abdomen.abdomen_case`, a volume
    with named organs; also napari's sample data.
"""
