"""Scores of views to metrics, the result record, and analyses of it."""
