"""Lists, smaller videos, frames, shards and a check of a dataset: see `--help`."""

import sys

from uniformer_video.cli import main

if __name__ == "__main__":
    sys.exit(main(command="prepare"))
