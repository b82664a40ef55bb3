"""From decoded pixels to augmented training clips and test views."""
