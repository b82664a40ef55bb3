"""Scores of views to metrics, the result record and the report page."""
