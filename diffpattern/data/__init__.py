"""Data sets: trajectories in memory and in files, and the builders that simulate them."""
