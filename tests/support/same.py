"""Equality to the last bit, of whatever a checkpoint holds."""

import torch


def assert_same(a, b, path="state"):
    """Equal to the last bit, in nested dicts and lists."""
    assert type(a) is type(b), path
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), path
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), path
        for key in a:
            assert_same(a[key], b[key], f"{path}/{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), path
        for index, pair in enumerate(zip(a, b, strict=True)):
            assert_same(*pair, f"{path}/{index}")
    elif not path.endswith("/seconds"):
        assert a == b, path
