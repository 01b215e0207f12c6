"""One package a platform. The core loads them by name from the configuration and from nowhere else."""
