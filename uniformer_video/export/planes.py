"""Depthwise convolutions of clips in the form that ONNX Runtime is fast at: sums of convolutions of pictures.

It has fast kernels for depthwise convolution in two dimensions, and none for three. So each step in time of
a kernel, a plane, convolves all frames by itself, and the results are added with a shift:
`out[t] = sum over d of conv(in, plane[d])[t + d]`, d = 0 for the plane in the middle, with zeros beyond the
first and the last frame. What that brings, and other ways to write the sum: `benchmarks/README.md`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

_TO_FIRST = [0, 4, 1, 2, 3]  # maps `[B, T, H, W, C]` -> `[B, C, T, H, W]`
_TO_LAST = [0, 2, 3, 4, 1]  # and back


class Planes(Enum):
    """Which depthwise convolutions are written by planes.

    ALL: those whose maps the network has with channels first too, the weights of which the runtime then
    repeats for each frame. LAST: those of maps with channels last alone. NONE: none.
    """

    ALL, LAST, NONE = range(3)


def conv3d_translation(op: Any, planes: Planes) -> Callable[..., Any]:
    """What writes `aten.conv3d` by the operators `op` of onnxscript: by planes where that is faster."""

    def conv3d(
        maps: Any,
        weight: Any,
        bias: Any = None,
        stride: Sequence[int] = (1, 1, 1),
        padding: Sequence[int] = (0, 0, 0),
        dilation: Sequence[int] = (1, 1, 1),
        groups: int = 1,
    ) -> Any:
        """`[B, C, T, H, W]` -> `[B, K, T', H', W']`, or both without B, as torch takes them too.

        weight: `[K, C / groups, KT, KH, KW]`; bias: `[K]`. One number of a list is that of all three axes.
        """
        stride, padding, dilation = (
            [*axes] * (3 // len(axes)) for axes in (stride, padding, dilation)
        )
        pads = [*padding, *padding]
        given = {"strides": stride, "pads": pads, "dilations": dilation, "group": groups}
        if len(maps.shape) == 4:
            first = op.Constant(value_ints=[0])
            return op.Squeeze(op.Conv(op.Unsqueeze(maps, first), weight, bias, **given), first)
        channels, frames = maps.shape[1:3]
        wanted = planes is Planes.ALL or (planes is Planes.LAST and _was_channels_last(maps))
        depthwise = groups == channels == weight.shape[0] and groups > 1
        (steps, *kernel) = weight.shape[2:]
        keeps_time = stride[0] == 1 and 2 * padding[0] == steps - 1 and isinstance(frames, int)
        # a kernel of time alone, as in the stem of X3D, has no plane to win by
        has_planes = kernel != [1, 1] and set(dilation) == {1}
        if wanted and depthwise and keeps_time and has_planes:
            return _by_planes(op, maps, weight, bias, stride[1:], padding[1:])
        return op.Conv(maps, weight, bias, **given)

    return conv3d


def _by_planes(
    op: Any, maps: Any, weight: Any, bias: Any, stride: Sequence[int], padding: Sequence[int]
) -> Any:
    """`[B, C, T, H, W]` -> `[B, C, T, H', W']`; stride and padding of a frame, height and width."""
    kind = _ChannelsLast if _was_channels_last(maps) else _ChannelsFirst
    layout = kind(op, *map(int, maps.shape[1:3]))
    sides = tuple(maps.shape[3:])
    pictures = layout.to_pictures(maps, sides)
    steps, *kernel = (int(side) for side in weight.shape[2:])
    if all(isinstance(side, int) for side in sides):
        made = zip(sides, kernel, stride, padding, strict=True)
        sides = tuple((side + 2 * pad - own) // step + 1 for side, own, step, pad in made)
    total = None
    for number in range(steps):
        shift = number - steps // 2
        if abs(shift) >= layout.frames:
            continue  # it meets no frame
        plane = op.Squeeze(
            op.Slice(weight, layout.ints(number), layout.ints(number + 1), layout.ints(2)),
            layout.ints(2),
        )
        part = op.Conv(
            pictures,
            layout.weights(plane, 1, *kernel),
            None if shift or bias is None else layout.weights(bias),
            strides=list(stride),
            pads=[*padding, *padding],
            group=layout.groups,
        )
        part = layout.to_clips(part, sides)
        if shift:  # frames are cut off at one end, and zeros put at the other
            ends = [0] * 10
            ends[layout.time], ends[layout.time + 5] = -shift, shift
            part = op.Pad(part, layout.ints(*ends))
        total = part if total is None else op.Add(total, part)
    return layout.finished(total)


def _was_channels_last(maps: Any) -> bool:
    """Whether maps `[B, C, T, H, W]` are a view of `[B, T, H, W, C]`."""
    node = maps.producer()
    order = node.attributes.get("perm") if node and node.op_type == "Transpose" else None
    return order is not None and list(order.as_ints()) == _TO_FIRST


@dataclass(frozen=True)
class _Layout:
    """How clips of `channels` and `frames` are laid out as pictures, and back; by the operators `op`."""

    op: Any
    channels: int
    frames: int

    def ints(self, *values: int) -> Any:
        return self.op.Constant(value_ints=list(values))

    def shape(self, *parts: Any) -> Any:
        """A shape of numbers and, where sides vary, of a part of another shape in the graph."""
        if all(isinstance(part, int) for part in parts):
            return self.ints(*parts)
        pieces = [self.ints(part) if isinstance(part, int) else part for part in parts]
        return self.op.Concat(*pieces, axis=0)

    def sides(self, value: Any, sides: tuple[Any, ...]) -> tuple[Any, ...]:
        """`sides` themselves, if they are numbers, else the last two of the shape of `value` in the graph."""
        if all(isinstance(side, int) for side in sides):
            return sides
        return (self.op.Shape(value, start=-2),)


class _ChannelsLast(_Layout):
    """Maps that the network has with their channels last: pictures are frames, B * T of them.

    The transpositions around them cancel each other, or become a part of ONNX Runtime's own reordering.
    """

    time = 1

    @property
    def groups(self) -> int:
        return self.channels

    def to_pictures(self, maps: Any, sides: tuple[Any, ...]) -> Any:
        """`[B, C, T, H, W]` -> `[B * T, C, H, W]`."""
        last = self.op.Transpose(maps, perm=_TO_LAST)
        shape = self.shape(-1, *self.sides(maps, sides), self.channels)
        return self.op.Transpose(self.op.Reshape(last, shape), perm=[0, 3, 1, 2])

    def weights(self, values: Any, *sides: int) -> Any:
        """`[C, *sides]`, of each channel, as those of each group."""
        return values

    def to_clips(self, pictures: Any, sides: tuple[Any, ...]) -> Any:
        """`[B * T, C, H, W]` -> `[B, T, H, W, C]`."""
        shape = self.shape(-1, self.frames, *self.sides(pictures, sides), self.channels)
        return self.op.Reshape(self.op.Transpose(pictures, perm=[0, 2, 3, 1]), shape)

    def finished(self, clips: Any) -> Any:
        """`[B, T, H, W, C]` -> `[B, C, T, H, W]`."""
        return self.op.Transpose(clips, perm=_TO_FIRST)


class _ChannelsFirst(_Layout):
    """Other maps: a clip is one picture of C * T channels, as it lies in memory, and weights are repeated."""

    time = 2

    @property
    def groups(self) -> int:
        return self.channels * self.frames

    def to_pictures(self, maps: Any, sides: tuple[Any, ...]) -> Any:
        """`[B, C, T, H, W]` -> `[B, C * T, H, W]`."""
        return self.op.Reshape(maps, self.shape(-1, self.groups, *self.sides(maps, sides)))

    def weights(self, values: Any, *sides: int) -> Any:
        # As a sum with zeros: an Expand would be computed by torch's exporter and make the file larger, this
        # by ONNX Runtime as it loads.
        zeros = self.op.ConstantOfShape(self.ints(1, self.frames, 1))
        repeated = self.op.Add(self.op.Reshape(values, self.ints(self.channels, 1, -1)), zeros)
        return self.op.Reshape(repeated, self.ints(self.groups, *sides))

    def to_clips(self, pictures: Any, sides: tuple[Any, ...]) -> Any:
        """`[B, C * T, H, W]` -> `[B, C, T, H, W]`."""
        shape = self.shape(-1, self.channels, self.frames, *self.sides(pictures, sides))
        return self.op.Reshape(pictures, shape)

    def finished(self, clips: Any) -> Any:
        return clips
