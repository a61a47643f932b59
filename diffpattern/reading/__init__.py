"""A trained rule read: weights, reaction, what it carries where, and which waves it grows.

What `report.rule` shows, computed; `rule.read_rule` is all of it.
"""
