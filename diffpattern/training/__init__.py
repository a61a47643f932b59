"""What fitting a rule takes: steps, losses, optimisers and the checkpoints of a run."""
