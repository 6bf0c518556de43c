"""Many cases with several models: in processes of this machine, or on a cluster."""
