"""Weights files: fetched, read safely, fitted to a model, written."""
