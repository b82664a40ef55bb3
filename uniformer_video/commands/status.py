"""Exit statuses of the commands."""

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
