"""The processes of a run: their environment, what they decide together, and their heartbeats."""
