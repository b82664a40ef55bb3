"""The page's own script in a browser: classes, the matrix, and from both to the videos."""

import base64
import io
import json

import numpy as np
import pytest
from pages import MODEL, PROTOCOL, in_views
from PIL import Image
from videos import encode, numbered_frames

from uniformer_video.data.loading.film_strip import film_strip
from uniformer_video.evaluation.results import build_results, save_results
from uniformer_video.evaluation.strips import Strips
from uniformer_video.pages.report import write_report
from uniformer_video.tasks.multi_label import MultiLabel
from uniformer_video.tasks.single_label import SingleLabel

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")
pytestmark = pytest.mark.browser

CLASSES, VIDEOS = 40, 400
HOSTILE = "</script><img src=x onerror=alert(1)>"


def make_page(folder, task, labels):
    """A page of which every second video has a strip, names are hostile, and one original lies beside it."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(VIDEOS, CLASSES))
    for row, own in enumerate(labels):
        scores[row, own] += 2.5
    names = [f"val/{HOSTILE.replace('/', '')}{i}.webm" for i in range(VIDEOS)]
    (folder / "val").mkdir(parents=True)
    encode(folder / names[7], numbered_frames(12, (48, 64)), codec="libvpx")
    results = build_results(
        task=task,
        title=HOSTILE,
        names=names,
        paths=[f"/data/{name}" for name in names],
        labels=labels,
        view_scores=in_views(scores),
        class_names=[f"{'pushing' if i % 2 else 'pulling'} {HOSTILE} {i}" for i in range(CLASSES)],
        protocol=PROTOCOL,
        model=MODEL,
        failures={3: "cut"},
    )
    save_results(folder, results, in_views(scores), task)
    strip = film_strip(np.full((1, 4, 9, 16, 3), 128, np.uint8))
    Strips.of(dict.fromkeys(range(0, VIDEOS, 2), strip), VIDEOS).save(folder)
    write_report(folder, results, task)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("scripted")
    several = [tuple({i % CLASSES, i // 3 % CLASSES}) for i in range(VIDEOS)]
    return {
        "single": make_page(root / "single", SingleLabel(), np.arange(VIDEOS) % CLASSES),
        "several": make_page(root / "several", MultiLabel(), several),
    }


@pytest.fixture
def visit(chromium, folders):
    """`visit("single")` -> the loaded page and its record; the page must stay quiet."""
    contexts, heard, asked = [], [], []

    def open_page(which, width=1280, **options):
        contexts.append(chromium.new_context(viewport={"width": width, "height": 900}, **options))
        page = contexts[-1].new_page()
        for event in ("console", "pageerror", "dialog"):
            page.on(event, lambda told: heard.append(str(told)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto((folders[which] / "report.html").as_uri())
        return page, json.loads((folders[which] / "results.json").read_text())

    yield open_page
    for context in contexts:
        context.close()
    assert heard == [] and all(url.startswith(("data:", "file:")) for url in asked)


def listed(page):
    """The names of the videos that are listed, on all pages."""
    names = page.locator("#videos .found .name").all_inner_texts()
    while page.locator("#videos [name=next]").is_enabled():
        page.locator("#videos [name=next]").click()
        names += page.locator("#videos .found .name").all_inner_texts()
    return names


def names_where(record, condition):
    return [video["name"] for video in record["videos"] if condition(video)]


def said(video):
    return video["top5"][0]["class"] if video["top5"] else None


def test_classes_are_sorted_found_and_lead_to_their_videos(visit):
    page, record = visit("single")
    names = page.locator("#classes tbody th button")
    shares = [row["accuracy"] for row in record["per_class"]]
    page.click("#classes th.num .sort")
    page.click("#classes th.num .sort")
    assert page.get_attribute("#classes th.num", "aria-sort") == "descending"
    row = page.locator("#classes tbody tr").first
    assert shares[int(row.get_attribute("data-class"))] == max(shares)
    page.click("#classes thead th:first-child .sort")
    assert names.all_inner_texts() == sorted(
        record["class_names"], key=lambda name: (name[:7], int(name.rsplit(" ", 1)[1]))
    )
    page.fill("#classes input", "PULLING")
    assert page.locator("#classes tbody tr:visible").count() == CLASSES / 2
    assert page.inner_text("#classes .tools [role=status]") == "20 of 40 found"
    page.fill("#classes input", "> 12")
    page.locator("#classes tbody tr:visible button").click()
    assert listed(page) == names_where(record, lambda video: video["label"] == 12)
    assert page.evaluate("document.activeElement.textContent") == "Videos"


def test_a_cell_of_the_matrix_is_told_and_leads_to_its_videos(visit):
    page, record = visit("single")
    row, column, count = next(cell for cell in record["confusion"] if cell[0] == 9 != cell[1])
    page.locator(".matrix-live canvas").scroll_into_view_if_needed()
    box = page.locator(".matrix-live canvas").bounding_box()
    left = min(130, 0.28 * box["width"])
    side = box["width"] - left - 1
    x, y = (box["x"] + left + (column + 0.5) * side / 40, box["y"] + (row + 0.5) * side / 40)
    page.mouse.move(x, y)
    videos = record["per_class"][row]["videos"]
    told = f"{record['class_names'][row]}, predicted: {record['class_names'][column]}: {count} of {videos}"
    status = page.locator(".matrix-live [role=status]")
    assert status.inner_text().startswith(told)
    before = page.locator(".matrix-live canvas").screenshot()
    page.mouse.wheel(0, -300)
    page.wait_for_timeout(50)
    assert page.locator(".matrix-live canvas").screenshot() != before
    page.mouse.click(x, y)  # what lies under the pointer stays there
    expected = names_where(record, lambda video: (video["label"], said(video)) == (row, column))
    assert sorted(listed(page)) == sorted(expected)


def test_the_matrix_by_keys_alone(visit):
    page, record = visit("single")
    page.focus(".matrix-live canvas")
    for key in ("ArrowRight", "ArrowDown", "ArrowRight", "+", "+", "-", "0"):
        page.keyboard.press(key)
    cells = sorted((r, c) for r, c, _ in record["confusion"])
    first = next(c for r, c in cells if r == 0)
    below = min((c for r, c in cells if r == 1), key=lambda c: abs(c - first))
    column = next((c for r, c in cells if r == 1 and c > below), below)
    page.keyboard.press("Enter")
    expected = names_where(record, lambda video: (video["label"], said(video)) == (1, column))
    assert sorted(listed(page)) == sorted(expected)


def test_videos_are_searched_and_shown_with_their_frames(visit):
    page, record = visit("single")
    wrong = {place for place, v in enumerate(record["videos"]) if said(v) not in (None, v["label"])}
    page.click("#mistakes .lead button")
    assert page.inner_text("#videos [role=status]").startswith(f"{len(wrong)} of 400 videos")
    page.fill("#videos [name=words]", f"{HOSTILE.replace('/', '')}6.webm".upper())
    assert page.locator("#videos .found img").count() == int(6 in wrong)
    page.click("#videos [name=reset]")
    page.fill("#videos [name=words]", ">3.webm")
    assert page.inner_text("#videos .found .small >> nth=-1") == "could not be read"
    some = next(place for place in sorted(wrong) if place % 2 == 0)
    page.fill("#videos [name=words]", f">{some}.webm")
    uri = page.get_attribute("#videos .found img", "src")
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as picture:
        assert picture.format == "JPEG" and picture.height == 64
    best = record["videos"][some]["top5"][0]
    line = page.inner_text("#videos .five li >> nth=0")
    assert line == f"{record['class_names'][best['class']]} {100 * round(best['score'], 3):.1f}%"


def test_the_original_is_shown_where_it_lies_beside_the_page(visit):
    page, record = visit("single")
    page.fill("#videos [name=words]", "7.webm")
    assert page.locator("#videos .found li:has(.name)").count() > 5
    page.click("#videos .original button")
    page.wait_for_function("document.querySelector('video')?.videoWidth === 64")
    name = page.inner_text("#videos li:has(video) .name")
    assert name == record["videos"][7]["name"]


def test_videos_of_several_labels(visit):
    page, record = visit("several")
    page.locator("#classes tbody tr[data-class='12'] button").click()
    assert listed(page) == names_where(record, lambda video: 12 in video["labels"])
    page.click("#videos [name=reset]")
    page.select_option("#videos [name=said]", "12")
    among = names_where(record, lambda video: 12 in [one["class"] for one in video["top5"]])
    assert sorted(listed(page)) == sorted(among)
    page.check("#videos [name=wrong]")
    page.select_option("#videos [name=said]", "")
    wrong = [
        video for video in record["videos"] if (video["best_wrong"] or {"score": 0})["score"] >= 0.5
    ]
    wrong.sort(key=lambda video: -video["best_wrong"]["score"])
    assert listed(page) == [video["name"] for video in wrong]
    assert f"In {len(wrong)} videos a wrong label scores" in page.inner_text("#mistakes .lead")


@pytest.mark.parametrize("width", [1280, 390])
def test_what_the_script_has_shown_is_accessible(visit, width):
    from axe_playwright_python.sync_playwright import Axe

    page, _ = visit("single", width)
    page.click("#mistakes .lead button")
    page.fill("#classes input", "pulling")
    page.hover(".matrix-live canvas")
    found = Axe().run(page).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"][:200]) for one in found] == []
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.locator("img[src='x']").count() == 0


def test_two_fingers_zoom_and_one_scrolls_on(visit):
    """By touch events of the browser itself."""
    page, _ = visit("single", 390, has_touch=True)
    canvas = page.locator(".matrix-live canvas")
    canvas.scroll_into_view_if_needed()
    assert canvas.evaluate("canvas => canvas.style.touchAction") == "pan-y"
    box = canvas.bounding_box()
    x, y = box["x"] + 0.7 * box["width"], box["y"] + 0.4 * box["height"]
    session = page.context.new_cdp_session(page)

    def touch(kind, *distances):
        points = [{"x": x + d, "y": y, "id": number} for number, d in enumerate(distances)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", -10, 10)
    for distance in (20, 30, 40):
        touch("touchMove", -distance, distance)
    touch("touchEnd")
    assert canvas.evaluate("canvas => canvas.style.touchAction") == "none"


def test_without_the_script_the_matrix_has_names(visit):
    page, record = visit("single", java_script_enabled=False)
    assert page.locator(".matrix").is_visible() and not page.locator("#videos").is_visible()
    rows = page.locator(".matrix-rows span").all_inner_texts()
    assert rows == page.locator(".matrix-columns span").all_inner_texts()
    assert rows == record["class_names"][1::2]
    assert "One class in 2 is named." in page.inner_text("#confusion")
    assert "results.json beside it holds them too" in page.inner_text("main")
    assert page.locator("#classes tbody tr").count() == CLASSES
