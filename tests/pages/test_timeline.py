"""The page of a timeline: what it shows, and that anybody can use it."""

import io
from dataclasses import replace

import numpy as np
import pytest
from pages import PROTOCOL, Page, assert_self_contained
from PIL import Image

from uniformer_video.evaluation.segments import Segment
from uniformer_video.inference.timeline import Pictures, Timeline
from uniformer_video.inference.timeline_files import Source
from uniformer_video.inference.timeline_report import summarise, write_all
from uniformer_video.inference.timeline_segments import Smoothing
from uniformer_video.inference.timeline_windows import place_windows
from uniformer_video.pages.timeline import MAX_ROWS, moment

NAMES = (*(f"class {number}" for number in range(7)), "<b>bold</b> & $x_1$", "_hidden")
WIDTHS = (1280, 390)


def jpeg(number):
    file = io.BytesIO()
    Image.new("RGB", (64, 48), (20 * number % 256, 90, 120)).save(file, "jpeg")
    return file.getvalue()


def timeline_of(minutes=3, change=9.0, **changes):
    """A made-up film whose class changes every so many seconds."""
    windows = place_windows(60.0 * minutes, 2, 1)
    middles = (windows.starts + windows.ends) / 2
    labels = (middles // change).astype(int) % len(NAMES)
    shares = np.full((len(windows), len(NAMES)), 0.02, np.float32)
    shares[np.arange(len(windows)), labels] = 0.84
    times = np.arange(0, 60 * minutes, max(1, minutes / 4))
    made = Timeline(
        video="films/a & b.mp4",
        windows=windows,
        probabilities=shares,
        class_names=NAMES,
        exclusive=True,
        threshold=None,
        temperature=None,
        frame_times=np.arange(0, 60 * minutes, 0.5),
        pictures=Pictures(times, tuple(map(jpeg, range(len(times))))),
    )
    return replace(made, **changes)


def write(folder, timeline, truth=None):
    folder.mkdir(parents=True, exist_ok=True)
    source = Source("run/best.pt", "UniFormer", PROTOCOL.to_dict())
    record, _ = summarise(timeline, Smoothing(weight=1), source, truth)
    write_all(folder, timeline, record)
    return (folder / "timeline.html").read_text("utf-8"), record


def broken():
    timeline = timeline_of()
    timeline.probabilities[40:60] = np.nan
    failed = dict.fromkeys(range(40, 60), "3 frames of it cannot be decoded")
    return replace(timeline, failed=failed, broken=True, notes=("What broke: a.mp4 breaks.",))


TRUTH = [Segment(10.0 * n, 10.0 * n + 10, n % len(NAMES)) for n in range(18)]


def test_each_segment_leads_to_its_frames(tmp_path):
    text, record = write(tmp_path, timeline_of(), TRUTH)
    page = Page(text)
    assert_self_contained(page, scripted=False)
    segments = record["segments"]
    assert len(segments) == 20
    for number in range(1, 21):
        assert ("id", f"segment-{number}") in page.attributes
        assert ("href", f"#segment-{number}") in page.attributes
    assert "<b>bold" not in text and "&lt;b&gt;bold&lt;/b&gt;" in text
    assert "other classes" in page.text  # eight have colours, nine are shown
    assert text.count("<polyline class") >= 8
    assert "Frame accuracy" in page.text and "Known" in page.text
    assert (tmp_path / "timeline.png").stat().st_size > 10_000


def test_what_could_not_be_read_is_told(tmp_path):
    text, record = write(tmp_path, broken())
    page = Page(text)
    assert "What broke: a.mp4 breaks." in page.text
    assert "cannot be decoded" in page.text and "Scores" not in page.text
    assert len(record["failed"]) == 20
    assert text.count("<polyline class") >= 2 * 6 - 2  # curves have a gap


def test_without_any_segment(tmp_path):
    timeline = timeline_of()
    timeline.probabilities[:] = 0.1
    text, record = write(tmp_path, timeline)
    assert not record["segments"] and "No class reaches 40.0%" in Page(text).text


def test_a_long_video_with_many_segments_is_no_large_page(tmp_path):
    text, record = write(tmp_path, timeline_of(minutes=120, change=5))
    assert len(record["segments"]) > MAX_ROWS
    assert f"The first {MAX_ROWS} of" in Page(text).text
    assert text.count('class="card"') < MAX_ROWS + 10
    assert "mean of" in Page(text).text
    assert len(text) < 6e6


def test_moments():
    assert [moment(75.25), moment(3675.0, 0), moment(0.04, 2)] == ["1:15.2", "1:01:15", "0:00.04"]
    assert moment(59.96) == "1:00.0"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """{what it is: the path of a page}."""
    root = tmp_path_factory.mktemp("timelines")
    made = {"scored": (timeline_of(), TRUTH), "broken": (broken(), None)}
    for name, (timeline, truth) in made.items():
        write(root / name, timeline, truth)
    return {name: root / name / "timeline.html" for name in made}


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("which", ["scored", "broken"])
def test_the_page_is_accessible_and_fits_the_screen(chromium, written, which, width, theme):
    from axe_playwright_python.sync_playwright import Axe

    said = []
    page = chromium.new_page(
        viewport={"width": width, "height": 900}, color_scheme=theme, java_script_enabled=True
    )
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(written[which].as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert not said
    page.evaluate("document.querySelector('.bars a').dispatchEvent(new MouseEvent('click'))")
    found = Axe().run(page).response["violations"]
    assert not [(one["id"], one["nodes"][0]["html"][:200]) for one in found]
    page.close()


@pytest.mark.browser
def test_a_click_on_a_segment_leads_to_its_frames(chromium, written):
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    page.goto(written["scored"].as_uri())
    page.locator(".bars a").nth(4).click()
    assert page.url.endswith("#segment-5")
    assert page.locator("#segment-5").is_visible()
    box = page.locator("#segment-5").bounding_box()
    assert 0 <= box["y"] < 900
    page.close()
