"""Where work runs: the device mesh, and what a rollout remembers."""
