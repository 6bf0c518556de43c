"""From boxes to labels: slices, volumes, undo, and the session of a user."""
