"""The names of the ways to find what speaks for a class."""

METHODS = ("gradcam", "occlusion", "rollout")
