"""Where work runs: the device mesh, and randomness that does not depend on it."""
