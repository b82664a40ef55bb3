"""Whether this machine and its libraries can do what the toolkit does: checks, and a run of a minute."""
