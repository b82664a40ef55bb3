"""Which parts of a video speak for a class, in the eyes of a trained model."""
