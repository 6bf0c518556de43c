"""The napari plugin. Qt and napari live here and nowhere else in the package.

The widgets hold no model state: each image layer has a
:class:`~napari_qmedsam.session.Session` of the core, and the
widgets only pass on what the user does.
"""
