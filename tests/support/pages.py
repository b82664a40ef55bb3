"""What a report page is made from, and reading it back."""

from html.parser import HTMLParser

import numpy as np

from uniformer_video.data.clips.transforms import EvalViews
from uniformer_video.data.protocol import Protocol
from uniformer_video.data.sampling import ClipSampling

PROTOCOL = Protocol(ClipSampling(8, 2), EvalViews(64, 64), num_clips=4, precision="fp32")
MODEL = {
    "name": "uniformer_s",
    "parameters": 21_400_400,
    "checkpoint": "runs/best.pt",
    "checkpoint_sha256": "ab" * 32,
    "epoch": 14,
}
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Tags, attributes and text of a page; fails on tags that do not nest."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.open, self.words = [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words += data.split()

    @property
    def text(self):
        return " ".join(self.words)


def assert_self_contained(page):
    for name, value in page.attributes:
        if name in ("src", "href", "xlink:href", "action", "data", "srcset"):
            assert value.startswith(("data:", "#")), (name, value[:60])
        assert not name.startswith("on")
        assert "url(" not in (value or "") or "url(#" in value
    assert not {"script", "link", "iframe", "object", "form"} & set(page.tags)


def in_views(scores, protocol=PROTOCOL):
    """Scores of videos `[N, K]` as those of a protocol's views, all alike: `[N, view, K]`."""
    return np.repeat(np.asarray(scores)[:, None], protocol.num_views, axis=1)
