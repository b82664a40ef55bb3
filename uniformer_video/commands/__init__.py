"""Sub-commands of the console: each file parses its arguments and calls the package."""
