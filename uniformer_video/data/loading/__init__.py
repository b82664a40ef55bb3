"""Datasets of clips, and the workers that make their batches."""
