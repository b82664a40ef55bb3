"""Batches on their way to the device."""

import pickle

import pytest
import torch

from uniformer_video.data.clips.packed import PackedClips, join, stack
from uniformer_video.data.loading.loader import TrainBatch


def clip(seed, *shape):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def packed(*shapes):
    clips = [clip(seed, *shape) for seed, shape in enumerate(shapes)]
    return clips, [PackedClips.of(one, f"drawn {seed}") for seed, one in enumerate(clips)]


def test_batches_join_in_order():
    parts = [torch.rand(copies, 3, 2, 4, 4) for copies in (2, 1, 3)]
    assert torch.equal(join(parts), torch.cat(parts))
    assert torch.equal(stack([parts[0][0], parts[0][1]]), parts[0])
    assert stack([parts[1][0]]).data_ptr() == parts[1].data_ptr()


@pytest.mark.parametrize("by", [join, stack])
def test_clips_of_several_sizes_are_one_piece_of_memory(by):
    clips, parts = packed((2, 5, 7, 3), (2, 1, 1, 3), (2, 9, 4, 3))
    batch = by([by(parts[:2]), by(parts[2:])])
    assert len(batch) == 3 and batch.memory.shape == (sum(one.numel() for one in clips),)
    for number, ((found, drawn), expected) in enumerate(zip(batch, clips, strict=True)):
        assert torch.equal(found, expected) and drawn == f"drawn {number}"
    (_, drawn), *_ = pickle.loads(pickle.dumps(batch))
    assert drawn == "drawn 0"


def test_a_batch_moves_as_one_tensor():
    _, parts = packed((2, 5, 7, 3), (2, 9, 4, 3))
    moved = join(parts).to("meta", non_blocking=True)
    assert [found.shape for found, _ in moved] == [(2, 5, 7, 3), (2, 9, 4, 3)]
    assert all(found.device.type == "meta" for found, _ in moved)


def test_the_pinning_thread_pins_clips_and_labels(monkeypatch):
    """It calls `pin_memory` of what it does not know, and hands on what has none."""
    pinned = []

    def pin(tensor):
        pinned.append(tensor)
        return tensor.clone()

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    labels = torch.tensor([1, 2])
    for clips in (torch.rand(2, 3, 1, 4, 4), join(packed((1, 2, 2, 3), (1, 3, 3, 3))[1])):
        pinned.clear()
        batch = TrainBatch(clips, labels, ("a", "b"), ())
        result = torch.utils.data._utils.pin_memory.pin_memory(batch)
        assert len(pinned) == 2 and pinned[1] is labels
        assert pinned[0] is getattr(clips, "memory", clips)
        assert result.paths == batch.paths and result.labels is not labels
    pinned.clear()
    broken = TrainBatch(None, None, ("a",), (("a", "why"),))
    assert broken.pin_memory() is broken and not pinned
