"""From annotations to batches of clips: lists, decoding, sampling, augmentation, loading."""
