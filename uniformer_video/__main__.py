"""`python -m uniformer_video` is the console command."""

import sys

from uniformer_video.cli import main

if __name__ == "__main__":
    sys.exit(main())
