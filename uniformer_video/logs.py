"""How much a log says for a while."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def errors_alone(name: str = "uniformer_video") -> Iterator[None]:
    """Inside, the log of that name says nothing below an error."""
    log = logging.getLogger(name)
    level = log.level
    log.setLevel(max(level, logging.ERROR))
    try:
        yield
    finally:
        log.setLevel(level)
