"""Which labels of a data set are likely wrong, and which of its videos show nearly the same."""
