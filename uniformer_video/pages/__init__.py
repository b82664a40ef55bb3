"""The pages that show results: templates, plots, and what fills them."""
