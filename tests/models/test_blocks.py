"""Single blocks against plain steps, their random depth, and what divided attention starts from."""

import pytest
import torch
from plain_blocks import (
    divided_block,
    global_block,
    hourglass_block,
    local_block,
    pooled_importance,
    randomised,
)

from uniformer_video.models.blocks import DividedBlock, GlobalBlock, LocalBlock
from uniformer_video.models.layers import DropPath, channels_first
from uniformer_video.models.light import HourglassBlock, _pool_importance
from uniformer_video.models.uniformer import UniFormer

CHANNELS, HEAD_DIM = 12, 4
GRIDS = [(3, 5, 3), (1, 1, 1), (2, 2, 4), (5, 3)]
CLOSE = {"rtol": 1e-12, "atol": 1e-12}


def random_block(family, **arguments):
    torch.manual_seed(0)
    return randomised(family(channels=CHANNELS, mlp_ratio=3, **arguments).double())


def hourglass(ndim=3, keep=0.5, blend=0.5, layer_scale=None, drop_path=0):
    return random_block(
        HourglassBlock,
        ndim=ndim,
        head_dim=HEAD_DIM,
        drop_path=drop_path,
        layer_scale=layer_scale,
        keep_ratio=keep,
        blend=blend,
    )


def random_tokens(grid, batch=3):
    return torch.randn(batch, *grid, CHANNELS, dtype=torch.float64)


def per_sample(function, tokens, *others):
    """Channels-first samples in, whatever the function gives out; its first part channels-last."""
    samples = channels_first(tokens)
    return [function(*parts) for parts in zip(samples, *others, strict=True)]


@pytest.mark.parametrize("layer_scale", [None, 0.1])
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_local_block(grid, layer_scale, mode):
    block = random_block(
        LocalBlock, kernel=(3, 5, 5)[-len(grid) :], drop_path=0, layer_scale=layer_scale
    )
    block.train(mode == "train")
    tokens = random_tokens(grid)
    state = {key: value.clone() for key, value in block.state_dict().items()}
    expected = local_block(state, channels_first(tokens), block.training, updated := {})
    torch.testing.assert_close(channels_first(block(tokens)), expected, **CLOSE)
    assert bool(updated) == block.training
    for key, value in updated.items():
        torch.testing.assert_close(block.state_dict()[key], value, **CLOSE)


@pytest.mark.parametrize("layer_scale", [None, 0.1])
@pytest.mark.parametrize("grid", GRIDS)
def test_global_block(grid, layer_scale):
    block = random_block(
        GlobalBlock, ndim=len(grid), head_dim=HEAD_DIM, drop_path=0, layer_scale=layer_scale
    )
    tokens = random_tokens(grid)
    expected = per_sample(lambda x: global_block(block.state_dict(), x, HEAD_DIM), tokens)
    torch.testing.assert_close(channels_first(block(tokens)), torch.stack(expected), **CLOSE)


@pytest.mark.parametrize("layer_scale", [None, 0.1])
@pytest.mark.parametrize("grid", GRIDS[:3])
def test_divided_block(grid, layer_scale):
    block = random_block(
        DividedBlock, ndim=3, head_dim=HEAD_DIM, drop_path=0, layer_scale=layer_scale
    )
    tokens = random_tokens(grid)
    found = per_sample(lambda x: divided_block(block.state_dict(), x, HEAD_DIM), tokens)
    expected = torch.stack([out for out, _ in found])
    torch.testing.assert_close(channels_first(block(tokens)), expected, **CLOSE)


@pytest.mark.parametrize("layer_scale", [None, 0.1])
@pytest.mark.parametrize(("keep", "blend"), [(1, 0.5), (0.5, 0.5), (0.3, 0.2), (0, 1)])
@pytest.mark.parametrize("grid", GRIDS)
def test_hourglass_block(grid, keep, blend, layer_scale):
    block = hourglass(len(grid), keep=keep, blend=blend, layer_scale=layer_scale)
    tokens, cls = random_tokens(grid), torch.randn(3, 1, CHANNELS, dtype=torch.float64)
    importance = torch.rand(3, torch.Size(grid).numel(), dtype=torch.float64)
    found = per_sample(
        lambda *flow: hourglass_block(block.state_dict(), *flow, HEAD_DIM, keep, blend),
        tokens,
        cls[:, 0],
        importance,
    )
    ours = block(tokens, cls, importance)
    torch.testing.assert_close(
        channels_first(ours[0]), torch.stack([sample[0] for sample in found]), **CLOSE
    )
    torch.testing.assert_close(ours[1][:, 0], torch.stack([sample[1] for sample in found]), **CLOSE)
    expected = torch.stack([torch.stack(list(sample[2])) for sample in found])
    torch.testing.assert_close(ours[2], expected, **CLOSE)
    maps = block.attention_maps(tokens, cls, importance)
    torch.testing.assert_close(maps, torch.stack([sample[3] for sample in found]), **CLOSE)
    torch.testing.assert_close(maps.sum(-1), torch.ones_like(maps[..., 0]), **CLOSE)


def test_the_first_importance_is_the_class_tokens_row():
    block = hourglass(keep=1)
    tokens, cls = random_tokens((2, 3, 3)), torch.randn(3, 1, CHANNELS, dtype=torch.float64)
    importance = block(tokens, cls, None)[2]
    maps = block.attention_maps(tokens, cls, None)
    torch.testing.assert_close(importance, maps[:, :, 0, 1:].mean(1), **CLOSE)


def test_equal_importance_keeps_the_first_tokens():
    """Ties are common at the start, and must not depend on the machine's sort."""
    block = hourglass(blend=1)
    tokens, cls = random_tokens((2, 8, 8)), torch.randn(3, 1, CHANNELS, dtype=torch.float64)
    importance = block(tokens, cls, torch.ones(3, 128, dtype=torch.float64))[2]
    assert (importance[:, :64] != 1).all()
    assert (importance[:, 64:] == 1).all()


def test_dropped_tokens_of_no_importance_merge_into_zero():
    block = hourglass(blend=1)
    tokens, cls = random_tokens((1, 4, 4)), torch.randn(3, 1, CHANNELS, dtype=torch.float64)
    importance = torch.zeros(3, 16, dtype=torch.float64)
    importance[:, :8] = 1 / 8
    assert all(torch.isfinite(part).all() for part in block(tokens, cls, importance))


@pytest.mark.parametrize("grid", [(2, 4, 6), (3, 5, 7), (4, 6), (3, 3)])
def test_importance_is_pooled_with_its_sum(grid):
    importance = torch.rand(3, torch.Size(grid).numel(), dtype=torch.float64)
    pooled = _pool_importance(importance, grid)
    expected = [torch.stack(pooled_importance(sample, grid)) for sample in importance]
    torch.testing.assert_close(pooled, torch.stack(expected), **CLOSE)
    torch.testing.assert_close(pooled.sum(1), importance.sum(1), **CLOSE)


@pytest.mark.parametrize("family", [LocalBlock, GlobalBlock, DividedBlock, HourglassBlock])
def test_random_depth_is_drawn_for_each_branch(family, monkeypatch):
    """Per sample; in divided blocks per position for time and per frame for space."""
    drawn = []

    def record(self, branch):
        drawn.append(tuple(branch.shape[:-1]))
        return branch

    monkeypatch.setattr(DropPath, "forward", record)
    arguments = {"drop_path": 0.5, "layer_scale": None}
    flow = [random_tokens((2, 3, 5))]
    if family is LocalBlock:
        arguments["kernel"] = (3, 5, 5)
    else:
        arguments |= {"ndim": 3, "head_dim": HEAD_DIM}
    if family is HourglassBlock:
        arguments |= {"keep_ratio": 0.5, "blend": 0.5}
        flow += [torch.randn(3, 1, CHANNELS).double(), torch.rand(3, 30).double()]
    random_block(family, **arguments)(*flow)
    expected = {
        LocalBlock: [(3, 2, 3, 5), (3, 2, 3, 5)],
        GlobalBlock: [(3, 30), (3, 30)],
        DividedBlock: [(3 * 15, 2), (3 * 2, 15), (3, 2, 3, 5)],
        HourglassBlock: [(3, 17), (3, 17)],
    }
    assert drawn == expected[family]


def test_what_a_hourglass_adds_to_dropped_tokens_is_never_dropped(monkeypatch):
    block = hourglass(drop_path=0.5)
    tokens, cls = random_tokens((2, 4, 4)), torch.randn(3, 1, CHANNELS, dtype=torch.float64)
    importance = torch.arange(32, 0, -1, dtype=torch.float64).expand(3, -1)
    monkeypatch.setattr(DropPath, "forward", lambda self, branch: torch.zeros_like(branch))
    before = (tokens + block.pos_embed(tokens)).flatten(1, -2)
    change = block(tokens, cls, importance)[0].flatten(1, -2) - before
    assert change[:, :16].abs().max() == 0
    assert change[:, 16:].abs().min() > 0
    torch.testing.assert_close(change[:, 16:], change[:, 16:17].expand(-1, 16, -1), **CLOSE)


def divided_model():
    torch.manual_seed(0)
    return UniFormer(5, [8, 8, 16, 16], [1, 1, 2, 1], 8, split=True).double()


def test_divided_attention_starts_as_spatial_attention():
    model = divided_model().eval()
    clip = torch.randn(2, 3, 4, 64, 64, dtype=torch.float64)
    tokens = torch.randn(2, 2, 4, 4, 16, dtype=torch.float64)
    logits, out = model(clip), model.blocks3[0](tokens)
    for block in (*model.blocks3, *model.blocks4):
        block._after_time = lambda tokens: tokens.flatten(2, 3).flatten(0, 1)
    assert torch.equal(model(clip), logits)
    assert torch.equal(model.blocks3[0](tokens), out)


def test_divided_attention_has_the_published_start():
    for block in (*(model := divided_model()).blocks3, *model.blocks4):
        temporal = block.t_attn
        for zero in (temporal.qkv.weight, temporal.qkv.bias, temporal.proj.bias):
            assert zero.count_nonzero() == 0
        assert (temporal.proj.weight == 1).all()
        assert block.attn.qkv.weight.std().item() == pytest.approx(0.02, rel=0.2)


def test_divided_attention_never_mixes_positions_in_time_nor_frames_in_space():
    block = random_block(DividedBlock, ndim=3, head_dim=HEAD_DIM, drop_path=0, layer_scale=None)
    torch.nn.init.zeros_(block.pos_embed.weight)
    tokens = random_tokens((3, 4, 4), batch=1)
    changed = tokens.clone()
    changed[0, 1, 2, 2] = torch.randn(CHANNELS, dtype=torch.float64)

    def moved():
        return (block(changed) - block(tokens))[0].abs().amax(-1) > 1e-9

    assert moved().all()  # in the other frames by time at its position, then by space
    torch.nn.init.zeros_(block.t_attn.proj.weight)
    assert moved()[1].all()
    assert not moved()[[0, 2]].any()
    torch.nn.init.zeros_(block.attn.proj.weight)
    assert moved().sum() == 1
