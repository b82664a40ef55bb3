"""Advice on a training: a look at somebody's videos, and the recipe and settings that fit them."""
