"""The chapters of a run's page: a module each, from a `RunReport` to HTML."""
