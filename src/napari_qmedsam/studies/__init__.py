"""The experiments of the Permutation-COMQ paper, run again with our means."""
