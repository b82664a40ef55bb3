"""Every setting of a run: its row, the rules between settings, and other projects' words for them."""
