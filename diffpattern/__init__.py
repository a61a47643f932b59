"""Finds the local rule behind a time series of patterns, and lets a person look at it."""

__version__ = "0.1.0"
