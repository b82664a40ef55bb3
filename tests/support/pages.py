"""What a report page is made from, and reading it back."""

import base64
import hashlib
import json
from html.parser import HTMLParser

import numpy as np

from uniformer_video.data.clips.transforms import EvalViews
from uniformer_video.data.protocol import Protocol
from uniformer_video.data.sampling import ClipSampling
from uniformer_video.pages.report import SCRIPT

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
        self.scripts = []  # of each: its attributes, and its text
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag == "script":
            self.scripts.append([dict(attrs), ""])
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "script" in self.open:
            self.scripts[-1][1] += data
        elif "style" not in self.open:
            self.words += data.split()

    @property
    def text(self):
        return " ".join(self.words)

    def data(self, name):
        """What a block of JSON for the script holds."""
        (text,) = (text for attributes, text in self.scripts if attributes.get("id") == name)
        return json.loads(text)


def assert_self_contained(page, scripted=True):
    """Nothing is loaded from elsewhere; scripted: whether it is a page with our script."""
    for name, value in page.attributes:
        if name in ("src", "href", "xlink:href", "action", "data", "srcset"):
            assert value.startswith(("data:", "#")), (name, value[:60])
        assert not name.startswith("on")
        assert "url(" not in (value or "") or "url(#" in value
    assert not {"link", "iframe", "object", "form"} & set(page.tags)
    if scripted:
        assert_own_script_alone(page)
    else:
        (policy,) = (
            v for n, v in page.attributes if n == "content" and v.startswith("default-src")
        )
        assert not page.scripts and "script-src" not in policy


def assert_own_script_alone(page):
    """The one script is ours, which the page's policy names by its digest; the others are data."""
    own = [text for attributes, text in page.scripts if not attributes]
    assert own == [SCRIPT.read_text("utf-8")]
    kinds = {attributes.get("type") for attributes, _ in page.scripts if attributes}
    assert kinds <= {"application/json"}
    digest = base64.b64encode(hashlib.sha256(own[0].encode()).digest()).decode()
    (policy,) = (v for n, v in page.attributes if n == "content" and v.startswith("default-src"))
    assert policy.startswith("default-src 'none'") and f"script-src 'sha256-{digest}'" in policy
    assert "http" not in policy and "'unsafe-inline'; script-src" in policy


def in_views(scores, protocol=PROTOCOL):
    """Scores of videos `[N, K]` as those of a protocol's views, all alike: `[N, view, K]`."""
    return np.repeat(np.asarray(scores)[:, None], protocol.num_views, axis=1)
