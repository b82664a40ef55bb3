"""Names to models and weights: the registry, create, list, convert, inflate."""
