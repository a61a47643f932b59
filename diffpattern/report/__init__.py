"""What a finished run shows to a person: its charts, its pictures and the page that holds them."""

from diffpattern.report.page import RunReport, write_report

__all__ = ["RunReport", "write_report"]
