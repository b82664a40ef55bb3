"""What a run does: train, test, report; and how its settings become objects."""
