"""Prediction on anybody's videos with a trained checkpoint."""
