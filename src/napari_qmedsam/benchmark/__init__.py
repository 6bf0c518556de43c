"""How fast models run on this machine: for `qmedsam bench`."""
