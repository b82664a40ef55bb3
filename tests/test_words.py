"""Numbers and errors in words."""

import pytest

from uniformer_video.words import duration, one_line, plural, system_reason


@pytest.mark.parametrize(
    ("seconds", "digits", "text"),
    [
        (4.4, 0, "4 s"),
        (59.6, 0, "1 min 00 s"),
        (61, 0, "1 min 01 s"),
        (3599.7, 0, "1 h 00 min"),
        (3725, 0, "1 h 02 min"),
        (0.04, 1, "0.0 s"),
        (12.34, 1, "12.3 s"),
        (59.99, 1, "1 min 00 s"),
        (130.2, 1, "2 min 10 s"),
    ],
)
def test_durations(seconds, digits, text):
    assert duration(seconds, digits) == text


def test_counts():
    assert [plural(n, "clip") for n in (0, 1, 2)] == ["0 clips", "1 clip", "2 clips"]


def test_errors():
    assert one_line(ValueError(" it is\n  wrong ")) == "it is wrong"
    assert one_line(KeyboardInterrupt()) == "KeyboardInterrupt"
    assert system_reason(OSError(28, "No space left", "/a")) == "No space left"
    assert system_reason(ValueError("embedded null byte")) == "embedded null byte"
