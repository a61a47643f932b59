"""Configurations of runs; also importable as `diffpattern.configs`, where one's own start from."""
