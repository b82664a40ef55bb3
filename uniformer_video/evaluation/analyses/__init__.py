"""Answers to further questions about a test, from the logits of its views: one file each."""
