"""The page of a test of semantic segmentation in a browser: on a screen, a phone, in the dark, on paper."""

import pytest
from charts import charts
from segmented import segmentation_record

from uniformer_video.data.lists.class_names import class_names
from uniformer_video.pages.report import write_report
from uniformer_video.tasks.segmentation import Segmentation

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")
pytestmark = pytest.mark.browser

FEW = [
    "sky",
    "road",
    "a cat that is very far away",
    "ANameThatIsTooLongForItsColumnOnAPhone",
    "car",
]
CLASSES = {"few": FEW, "many": class_names("ade20k")}


@pytest.fixture(scope="module")
@charts(drawn=True)
def pages(tmp_path_factory):
    """{which page: its file}"""
    made = {}
    for which, names in CLASSES.items():
        folder = tmp_path_factory.mktemp(which)
        record, strips = segmentation_record(40, names, failed=(3,))
        strips.save(folder)
        made[which] = write_report(folder, record, Segmentation())
    return made


@pytest.fixture
def visit(chromium, pages):
    contexts = []

    def open_page(which, width=1280, theme="light", **options):
        size = {"width": width, "height": 900}
        contexts.append(chromium.new_context(viewport=size, color_scheme=theme, **options))
        page = contexts[-1].new_page()
        page.heard = []
        page.on("console", lambda message: page.heard.append(message.text))
        page.on("pageerror", lambda error: page.heard.append(str(error)))
        page.goto(pages[which].as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("which", CLASSES)
def test_the_page_is_accessible_and_quiet(visit, which, width, theme):
    from axe_playwright_python.sync_playwright import Axe

    page = visit(which, width, theme)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    report = Axe().run(page).response["violations"]
    assert [(found["id"], found["nodes"][0]["html"][:200]) for found in report] == []
    assert page.heard == []


@pytest.mark.parametrize("width", [1280, 390])
def test_panels_stand_beside_each_other_and_none_is_cut(visit, width):
    page = visit("few", width)
    lefts = page.evaluate(
        "[...document.querySelectorAll('.panels')].map(one => new Set([...one.children].map("
        "figure => figure.getBoundingClientRect().left)).size)"
    )
    assert set(lefts) == {4 if width == 1280 else 2}
    boxes = "[...document.querySelectorAll('.panels img')].map(one => [one.width, one.height])"
    assert all(60 < wide <= 270 and 40 < high <= 260 for wide, high in page.evaluate(boxes))


def test_a_phone_shows_the_iou_of_classes_without_scrolling(visit):
    cells = visit("few", 390).locator("#classes tbody td:nth-child(3)").all()
    boxes = [cell.bounding_box() for cell in cells]
    assert len(boxes) == 5 and max(box["x"] + box["width"] for box in boxes) <= 390 - 16


def test_the_table_of_classes_is_sorted_by_a_click(visit):
    page = visit("many")
    page.get_by_role("button", name="Pixels").first.click()
    shown = page.eval_on_selector_all(
        "#classes tbody tr",
        "rows => rows.map(row => parseInt(row.cells[5].innerText.replace(/,/g, '')))",
    )
    assert len(shown) == 150 and shown == sorted(shown)


def test_a_matrix_of_many_classes_can_be_read(visit):
    page = visit("many")
    page.focus(".matrix-live canvas")
    page.keyboard.press("ArrowRight")
    told = page.inner_text(".matrix-live [role=status]")
    assert told.startswith("wall, predicted: ") and " of " in told and "%" in told


def test_colours_are_there_on_paper(visit):
    page = visit("few")
    page.emulate_media(media="print")
    widths = "[...document.querySelectorAll('.swatches i')].map(one => getComputedStyle(one).borderTopWidth)"
    assert set(page.evaluate(widths)) == {"12px"}
