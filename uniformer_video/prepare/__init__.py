"""Getting datasets ready for training: lists, smaller videos, frames, shards, a check of every file.

Every job runs in a worker process of its own kind (`jobs.py`), writes to a temporary name and renames,
so that an interrupted or killed run goes on from what is finished.
"""
