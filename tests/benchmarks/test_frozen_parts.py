import argparse

import frozen_parts
import pytest


@pytest.mark.parametrize("case", ["nothing frozen", "all but the head", "FROZEN_BN"])
def test_a_line_of_the_table(case):
    options = argparse.Namespace(
        case=case, model="uniformer_xxs", clip=(4, 32, 32), batch=2, steps=2
    )
    name, _, _, _, held = (
        part.strip() for part in frozen_parts.measure(options).strip("|").split("|")
    )
    assert name == case
    heads = 2 * 2 * 4 * (400 * 448 + 400) / 1e6  # two classifiers, two moments of four bytes
    assert (float(held) < 1.01 * heads + 0.1) == (case == "all but the head")
