"""What a model sees in videos, as vectors or maps: taken, kept in a file, compared."""
