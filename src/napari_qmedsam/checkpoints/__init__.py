"""The file of a model: finding, fetching, reading and writing it.

Importing this package does not load torch.
"""
