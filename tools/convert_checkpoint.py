"""Weights of other projects to a checkpoint of this toolkit, and back: see `--help`."""

import sys

from uniformer_video.cli import main

if __name__ == "__main__":
    sys.exit(main(command="convert"))
