"""Names to models and weights: create, list, convert, inflate."""
