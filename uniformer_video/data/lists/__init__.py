"""From annotations to records: which videos there are, with which labels and class names."""
