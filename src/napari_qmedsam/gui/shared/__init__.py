"""What the three panels have in common."""
