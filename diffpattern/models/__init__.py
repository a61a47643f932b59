"""Trainable local rules, as Flax linen modules: cellular automata and PDE right-hand sides."""
