"""Light models hold no state between calls: threads, tracing, saving and half precision are safe."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from plain_blocks import plain_outputs, small_input, small_model

from uniformer_video.errors import ConfigError
from uniformer_video.models.light import LightUniFormer

SIZES = {"embed_dims": [4, 8, 8, 16], "depths": [1, 1, 3, 2], "head_dim": 4}
KINDS = ["light", "light_scale", "image_light"]


@pytest.fixture
def light():
    return small_model("light").eval()


@pytest.fixture
def clip():
    return small_input("light")


def test_two_models_in_two_threads_give_what_they_give_alone():
    models = [small_model(kind, seed=seed).eval() for seed, kind in enumerate(KINDS[:2])]
    clips = [small_input("light", frames=4), small_input("light", batch=3, frames=6, size=(96, 64))]
    alone = [model.training_outputs(x) for model, x in zip(models, clips, strict=True)]

    def repeat(index):
        with torch.no_grad():
            return [models[index].training_outputs(clips[index]) for _ in range(8)]

    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(repeat, range(2)))
    for expected, results in zip(alone, together, strict=True):
        for outputs in results:
            torch.testing.assert_close(outputs, expected, rtol=1e-12, atol=1e-12)


def test_calls_with_other_sizes_between_change_nothing(light, clip):
    expected = light(clip)
    for other in (clip[:1], clip.repeat(3, 1, 1, 1, 1), clip[:, :, :2], clip[..., :32, :]):
        light(other)
        assert torch.equal(light(clip), expected)


def test_samples_do_not_meet(light, clip):
    alone = torch.cat([light(sample[None]) for sample in clip])
    torch.testing.assert_close(light(clip), alone, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_activation_checkpointing_changes_no_gradient(kind):
    gradients = []
    for blocks in ((0, 0, 0, 0), (1, 1, 2, 2), (1, 1, 3, 1)):
        model = small_model(kind, checkpoint_blocks=blocks, drop_path_rate=0.5).train()
        torch.manual_seed(3)
        sum(out.square().sum() for out in model.training_outputs(small_input(kind))).backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    for other in gradients[1:]:
        torch.testing.assert_close(other, gradients[0], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("kind", "training"),
    [
        pytest.param("light", True, marks=pytest.mark.slow),
        ("image_light", False),
        ("divided", False),
    ],
)
def test_compiled_in_one_graph(kind, training):
    depths = [1, 1, 2 if "light" in kind else 1, 1]
    model, clip = small_model(kind, depths=depths).train(training), small_input(kind)
    expected = model.training_outputs(clip)
    torch._dynamo.reset()
    compiled = torch.compile(
        model.training_outputs, fullgraph=True, backend="aot_eager" if training else "eager"
    )
    torch.testing.assert_close(compiled(clip), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["light", "joint", "divided", "image_light"])
def test_exported(kind):
    model, clip = small_model(kind).eval(), small_input(kind)
    program = torch.export.export(model, (clip,))
    other = torch.randn_like(clip)
    torch.testing.assert_close(program.module()(other), model(other), rtol=1e-12, atol=1e-12)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_traced(light, clip):
    traced = torch.jit.trace(light, clip)
    other = torch.randn_like(clip)
    torch.testing.assert_close(traced(other), light(other), rtol=1e-12, atol=1e-12)


def test_copied_and_pickled(light, clip):
    light(clip)
    for twin in (copy.deepcopy(light), pickle.loads(pickle.dumps(light))):
        assert torch.equal(twin(clip), light(clip))
        assert twin.arguments == light.arguments
        assert twin.cls_token is not light.cls_token


def test_float64_stays_float64(light, clip):
    tokens, cls, importance = light.forward_stages(clip)[-1]
    assert tokens.dtype == cls.dtype == importance.dtype == light(clip).dtype == torch.float64


@pytest.mark.parametrize("how", ["cast", "autocast"])
def test_bfloat16_is_near(light, clip, how):
    expected = light(clip).float()
    light.float()
    with torch.no_grad():
        if how == "cast":
            logits = light.bfloat16()(clip.bfloat16())
        else:
            with torch.autocast("cpu", torch.bfloat16):
                logits = light(clip.float())
                importance = light.forward_stages(clip.float())[-1][2]
            assert importance.dtype == torch.float32  # a ranking in bfloat16 would have ties
    assert torch.isfinite(logits).all()
    assert (logits.float() - expected).norm() < 0.1 * expected.norm()


@pytest.mark.parametrize("kind", ["light", "joint"])
def test_bfloat16_trains_alike_whatever_was_in_the_memory_before(kind):
    """torch's gradient of a depthwise kernel over a few pixels reads memory that nobody has written."""
    model, clip = small_model(kind).float().train(), small_input(kind).float()
    gradients = []
    for fill in (0.0, float("nan"), 1e30, float("nan")) * 5:
        model.zero_grad()
        memory = [torch.full((4**power,), fill) for power in range(3, 9)]
        del memory  # to be handed out again
        with torch.autocast("cpu", torch.bfloat16):
            sum(out.float().square().sum() for out in model.training_outputs(clip)).backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    for other in gradients[1:]:
        assert all(torch.equal(one, same) for one, same in zip(other, gradients[0], strict=True))


@pytest.mark.parametrize(("frames", "size"), [(5, (72, 104)), (1, (32, 32)), (7, (33, 63))])
@pytest.mark.parametrize("kind", ["light", "light_scale"])
def test_odd_sizes(kind, frames, size):
    model, clip = small_model(kind).eval(), small_input(kind, frames=frames, size=size)
    logits, of_class, _ = plain_outputs(model.state_dict(), model.arguments, clip)
    expected = (logits, of_class)
    torch.testing.assert_close(model.training_outputs(clip), expected, rtol=1e-11, atol=1e-11)


def test_published_ratios():
    model = LightUniFormer(5, **SIZES)
    assert model.arguments["prune_ratio"] == [[1, 0.5, 0.5], [0.5, 0.5]]
    assert model.arguments["trade_off"] == [[1, 0.5, 0.5], [0.5, 0.5]]
    assert [block.keep_ratio for block in model.blocks3] == [1, 0.5, 0.5]
    assert model.cls_token.count_nonzero() == 0


def test_the_importance_sums_to_less_than_one(light, clip):
    """Rows of attention without the class column; pooling keeps their sum."""
    flows = light.forward_stages(clip)
    for importance in (flows[2][2], flows[3][2]):
        assert (importance > 0).all()
        assert (importance.sum(1) < 1).all()
    carried = light.carry(4, *flows[2])[1]
    torch.testing.assert_close(carried.sum(1), flows[2][2].sum(1), rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prune_ratio": [[1, 0.5], [0.5, 0.5]]}, "3 blocks of stage 3 and the 2 of stage 4"),
        ({"trade_off": [[1, 0.5, 0.5]]}, "trade_off.* takes two lists"),
        ({"prune_ratio": [[0.5, 0.5, 0.5], [0.5, 0.5]]}, "first block of stage 3 must keep all"),
        ({"prune_ratio": [[1, 1.5, 0.5], [0.5, 0.5]]}, "between 0 and 1"),
        ({"trade_off": [[1, 0.5, -0.5], [0.5, 0.5]]}, "between 0 and 1"),
        ({"split": True}, "no divided attention"),
    ],
)
def test_impossible_arguments(change, message):
    with pytest.raises(ConfigError, match=message):
        LightUniFormer(5, **SIZES, **change)
