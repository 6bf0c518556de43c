"""Quantized weights as values and as tensors of a file.

How they are found is the business of :mod:`napari_qmedsam.quantization`.
"""
