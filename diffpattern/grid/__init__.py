"""Lattices: their description, what lies beyond their walls, and finite differences on them."""
