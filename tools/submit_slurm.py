"""Submit a run to Slurm: see `--help`."""

import sys

from uniformer_video.cli import main

if __name__ == "__main__":
    sys.exit(main(command="submit-slurm"))
