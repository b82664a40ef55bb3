"""Whether pages draw their charts, which takes as long as a tiny run's training does."""

from contextlib import contextmanager

import pytest

from uniformer_video.pages import plots

_DRAW = plots._drawn


@contextmanager
def charts(drawn):
    """Charts are put together and labelled; only if `drawn` has their markup what they show.

    A test that looks at that is decorated with `@charts(drawn=True)`.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "_drawn", _DRAW if drawn else _label_alone)
        yield


def _label_alone(_figure, label):
    return plots._inline('<svg viewBox="0 0 1 1"></svg>', label)
