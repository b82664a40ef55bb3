"""McNemar's exact test and Holm's correction, against scipy and numbers worked out by hand."""

import pytest

from uniformer_video.evaluation.significance import holm, mcnemar_exact


@pytest.mark.parametrize(
    "split", [(0, 1), (3, 1), (1, 9), (7, 7), (40, 61), (600, 480), (9_000, 9_500), (0, 1000)]
)
def test_mcnemar_is_the_binomial_test_of_scipy(split):
    stats = pytest.importorskip("scipy.stats")
    expected = stats.binomtest(min(split), sum(split), 0.5).pvalue
    assert mcnemar_exact(*split) == pytest.approx(expected, rel=1e-9)
    assert mcnemar_exact(*split[::-1]) == mcnemar_exact(*split)


def test_mcnemar_of_numbers_by_hand():
    assert mcnemar_exact(0, 0) == 1.0
    assert mcnemar_exact(1, 0) == 1.0  # one video decides nothing
    assert mcnemar_exact(6, 0) == pytest.approx(2 / 2**6)
    assert mcnemar_exact(9, 1) == pytest.approx(2 * (1 + 10) / 2**10)
    assert mcnemar_exact(500_000, 500_000) == 1.0
    assert mcnemar_exact(0, 5000) == 0.0  # below what a float can hold


def test_holm():
    assert holm([]) == []
    assert holm([0.03]) == [0.03]
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
