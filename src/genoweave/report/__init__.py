"""The report of a run: figures, tables and one self-contained HTML page."""

from genoweave.report.page import write_report

__all__ = ["write_report"]
