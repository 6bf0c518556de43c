"""Training, float and quantization-aware: samples, losses, resumable runs."""
