"""Making models of fewer bits."""
