"""Training: phantom samples, losses, and resumable runs."""
