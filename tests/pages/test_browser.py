"""Pages in a browser: on a screen, on a phone, in the dark, without scripts, and on paper."""

import io
import json
import re

import browser
import numpy as np
import pytest
from charts import charts
from pages import MODEL
from stored_tests import answers, settings, store_test
from tests_by_views import COST, protocol_of

from uniformer_video.data.clips.variants import STILL, Variant, variants_of
from uniformer_video.data.loading.film_strip import film_strip
from uniformer_video.evaluation.parts import proportion
from uniformer_video.evaluation.results import build_results, save_results
from uniformer_video.evaluation.strips import Strips, jpeg_uri
from uniformer_video.evaluation.variants import VariantScores
from uniformer_video.pages.report import write_report
from uniformer_video.pages.sections import _SECTIONS, register_report_section
from uniformer_video.runs import compare as comparing
from uniformer_video.runs.variants_test import record_variants
from uniformer_video.tasks.multi_label import MultiLabel
from uniformer_video.tasks.registry import load_tested
from uniformer_video.tasks.single_label import SingleLabel

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")
pytest.importorskip("PIL.Image")
pytestmark = pytest.mark.browser

PAGES = ("8 classes", "31 classes", "400 classes", "several labels", "folds", "comparison")
WIDTHS = (1280, 390)
WORDS = (
    "Opening something",
    "Pretending to put something behind something",
    "Pushing it left",
    "PushingAWordThatIsTooLongForItsColumn",
)
FOLDERS = (
    "a long folder of videos",
    "throwing_a_ball_without_any_space_536_gc8E7nmUfut_000430_000440",
)
ACCENT, WARM = ".1686 .4039 .8392 rg", ".6902 .2902 .0627 rg"  # of the light theme, in a PDF
A4 = {"width": 703, "height": 1032}  # pixels inside margins of 12 mm


def strip(place):
    height, width = np.mgrid[:90, :160]
    frame = np.stack([height, width, height + width + place], -1).astype(np.uint8)
    return film_strip(np.stack([frame] * 4)[None])


def plain_table(results, folder):
    """A plugin's section that knows nothing of the parts of the page."""
    if folder.name != "8":
        return None
    cells = "".join(f"<td>a wide cell, number {i}</td>" for i in range(20))
    label = 'class="scroll" tabindex="0" role="region" aria-label="A plugin\'s table"'
    return f"<div {label}><table class='rows'><tr>{cells}</tr></table></div>"


def logits(labels, classes, skill=1.0, num_views=12):
    """Of each video, one in three is hard: float32 `[video, view, class]`."""
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(len(labels), 1, classes))
    for row, own in enumerate(labels):
        shared[row, 0, own] += skill * (3 if row % 3 else 1)
    return (shared + rng.normal(size=(len(labels), num_views, classes))).astype(np.float32)


def all_variants(labels, classes):
    """What a test keeps of all kinds of TEST.ROBUSTNESS and of TEST.MOTION_CHECK."""
    asked = variants_of(["all"])
    variants = (*asked, Variant(STILL))
    skills = [1 - 0.9 * place % 5 / 5 for place in range(len(variants))]
    return VariantScores(
        variants=variants,
        scores=np.stack([logits(labels, classes, skill, 1) for skill in skills]),
        per_view=False,
        held=tuple(100 * (one.kind == "rate" and one.strength > 1) for one in variants),
        shown=3200,
        seeds=(0,) * len(variants),
        asked=tuple(dict.fromkeys(one.kind for one in asked)),
        seconds=50.0,
        failures={7: "ends before its first frame"},
    )


def make_page(folder, task, classes, videos, labels, opposite=None, groups=None):
    """The page of a test with all its sections."""
    view_scores = logits(labels, classes)
    failed = list(range(3, 12 if folder.name == "31" else 4))
    sizes = [(1920, 1080) if place % 2 else (640, 480) for place in range(videos)]
    core = {
        "hardware": "16 cores, Some Processor 9000",
        "devices": 16,
        "unit": "core",
        "seconds": 5000.0,
    }
    changed = [{"key": "SOLVER.BASE_LR", "value": 1e-3, "recipe": 4e-4}]
    recipe = [
        {"key": f"DATA.NAME_{i}", "value": [0.5] * 3, "default": [0.4] * 3} for i in range(30)
    ]
    results = build_results(
        task=task,
        title="ssv2_uniformer_s_16x4",
        names=[f"val/{FOLDERS[i % 2]}/{i:06d}.mp4" for i in range(videos)],
        paths=[f"/data/val/{i}.mp4" for i in range(videos)],
        labels=labels,
        view_scores=view_scores,
        class_names=[f"{WORDS[i % 4]} {i}" for i in range(classes)],
        protocol=protocol_of(4, 3),
        model={**MODEL, "weights": "ema", "gflops_view": 2.0},
        sizes=dict(enumerate(sizes)),
        cost=COST,
        groups=groups,
        failures={i: f"/data/val/{i}.mp4 ends before its first frame" for i in failed},
        training={
            "epochs": 14,
            "seconds": 5000.0,
            "score": 0.8,
            "costs": {"epoch_seconds": 300.0, "validation_seconds": 20.0, "spent": [core]},
        },
        settings="TRAIN:\n  EPOCHS: 14\n" * 100,
        versions={"torch": "2.13.0"},
        data={"name": "ssv2", "format": "csv", "split": "test", "license": "CC BY 4.0"},
        changed_settings={"command_line": changed, "recipe": recipe},
        differs=["TEST.NUM_SPATIAL_CROPS is 3, not 1."],
        notes=["12 of 40 videos are too short for 4 different clips."],
    )
    if folder.name == "folds":
        results["crossval"] = folds()
    view_scores[failed] = np.nan
    record_variants(
        results, task, view_scores, labels, all_variants(labels, classes), opposite or {}, groups
    )
    save_results(folder, results, view_scores, task)
    key = "top1" if isinstance(task, SingleLabel) else "map"
    lines = [
        {
            "kind": kind,
            "epoch": e,
            "loss": 2 / e,
            key: e / 20,
            f"ema_{key}": e / 18,
            "ema_loss": 1 / e,
        }
        for e in range(1, 15)
        for kind in ("train", "val")
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    Strips.of({place: strip(place) for place in range(videos)}, videos).save(folder)
    write_report(folder, *load_tested(folder), heat() if folder.name == "8" else None)
    return folder / "report.html"


def heat():
    """What `explain/mistakes.py` gives of a test: three mistakes, one of them without a video by now."""
    from PIL import Image

    picture = io.BytesIO()
    Image.fromarray(np.tile(np.arange(640, dtype=np.uint8), (320, 1))).save(picture, "JPEG")
    shown = [
        {
            "name": f"val/{folder}/{place:06d}.mp4",
            "path": f"/data/val/{place}.mp4",
            "predicted": "rotate counter-clockwise",
            "score": 0.97,
            "true": WORDS[place],
            "true_score": [0.02, None][place],
            "strip": jpeg_uri(picture.getvalue()),
            "any": place == 0,
        }
        for place, folder in enumerate(FOLDERS)
    ]
    missing = [{"name": "val/7.mp4", "reason": "/data/val/7.mp4 does not exist"}]
    return {"shown": shown, "missing": missing, "total": 20, "layer": "blocks1.0"}


def make_comparison(root):
    """Of two seeds of a recipe and two of another, with a video that one of them could not decode."""
    labels, folders = [place % 12 for place in range(120)], []
    for number in range(4):
        folder = (
            root / "compared" / f"a recipe with a long name, number {number // 2}, seed {number}"
        )
        store_test(
            folder,
            answers(labels, 12, number, 2 + number // 2),
            labels,
            class_names=[f"{WORDS[i % 4]} {i}" for i in range(12)],
            settings=settings(SOLVER__BASE_LR=1e-4 * (1 + number // 2), RNG_SEED=number),
            training={"seed": number},
            failures={3: "cut short"} if number == 1 else {},
        )
        Strips.of({place: strip(place) for place in range(60)}, 120).save(folder)
        folders.append(folder)
    return comparing.write(comparing.compare(folders), root / "comparison")


def folds():
    own = [
        {
            "fold": fold,
            "folder": f"fold{fold}",
            "videos": 20,
            "failed": 0,
            "train_videos": 80,
            "epoch": 9,
            "figure": proportion(12 + fold, 20),
        }
        for fold in range(5)
    ]
    shared = {"figure": "top1", "title": "Top-1 accuracy", "short": "top-1", "groups": 12}
    return {**shared, "folds": own, "mean": 0.7, "deviation": 0.079}


@pytest.fixture(scope="module")
@charts(drawn=True)
def pages(tmp_path_factory):
    """{which page: its file}"""
    root = tmp_path_factory.mktemp("pages")
    register_report_section("A plugin's section", plain_table)
    made = {
        f"{classes} classes": make_page(
            root / f"{classes}",
            SingleLabel(),
            classes,
            videos,
            np.arange(videos) % classes,
            {0: 2, 2: 0},
        )
        for classes, videos in ((8, 160), (31, 310), (400, 1200))
    }
    several = [tuple({i % 12, i // 3 % 12}) for i in range(120)]
    made["several labels"] = make_page(root / "several", MultiLabel(), 12, 120, several)
    made["comparison"] = make_comparison(root)
    made["folds"] = make_page(root / "folds", SingleLabel(), 8, 100, np.arange(100) % 8)
    del _SECTIONS["A plugin's section"]
    return made


@pytest.fixture
def visit(chromium, pages):
    """`visit(which, width, theme)` -> the loaded page; all that it says and asks for is in `page.heard`."""
    contexts = []

    def open_page(which, width=1280, theme="light", **options):
        contexts.append(
            chromium.new_context(
                viewport={"width": width, "height": 900}, color_scheme=theme, **options
            )
        )
        page = contexts[-1].new_page()
        page.heard = []
        page.on("console", lambda message: page.heard.append(message.text))
        page.on("pageerror", lambda error: page.heard.append(str(error)))
        page.on("request", lambda request: page.heard.append(request.url[:200]))
        page.goto(pages[which].as_uri())
        page.heard = [words for words in page.heard if not words.startswith(("data:", "file:"))]
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("which", PAGES)
def test_a_page_is_accessible_and_quiet(visit, which, width, theme):
    from axe_playwright_python.sync_playwright import Axe

    page = visit(which, width, theme)
    for details in page.query_selector_all("details:not([open]) summary"):
        details.click()
    assert page.evaluate("document.documentElement.scrollWidth") == width
    report = Axe().run(page).response["violations"]
    assert [(found["id"], found["nodes"][0]["html"][:200]) for found in report] == []
    assert page.heard == []


SECTIONS = (
    "figures motion classes confusion confused mistakes videos "
    "views disagreement crops calibration robustness"
)
UNBOXED = """() => [...document.querySelectorAll('section:not([id^=section-]) table')].filter(
    (table) => !table.parentElement.matches('.scroll')).length"""


@pytest.mark.parametrize("which", [which for which in PAGES if which != "comparison"])
def test_sections_are_in_one_order_and_style(visit, which):
    page = visit(which)
    others = {"folds": ["folds"], "several labels": ["missed"], "8 classes": ["heat"]}.get(
        which, []
    )
    absent = ["confusion"] if which == "several labels" else []
    ids = page.evaluate("[...document.querySelectorAll('main > section')].map((one) => one.id)")
    expected = [*SECTIONS.split(), "training", "details", "settings"]
    assert [one for one in ids if one not in others and not one.startswith("section-")] == [
        one for one in expected if one not in absent
    ]
    assert set(others) <= set(ids) and page.evaluate(UNBOXED) == 0
    for section in ("#confused", "#mistakes", "#videos"):
        assert "their licence: CC BY 4.0" in page.inner_text(f"{section} .footage")
    analyses = " ".join(page.locator("section:has(.card)").all_inner_texts()[:-2])
    assert not re.findall(r"(?<!\w)-[0-9.]+", analyses)  # the sign is a minus, not a hyphen


CUT_WITHOUT_A_HINT = """() => [...document.querySelectorAll('.scroll')].filter(box => {
    const hint = box.previousElementSibling;
    const above = hint && hint.matches('.hint') && hint.offsetHeight > 0;
    const told = above || getComputedStyle(box, '::before').content !== 'none';
    const cut = box.scrollWidth > box.clientWidth + 1 || box.scrollHeight > box.clientHeight + 1;
    return cut && !told;
}).map(box => box.getAttribute('aria-label'))"""


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("which", PAGES)
def test_a_table_that_is_cut_says_so(visit, which, width):
    assert visit(which, width).evaluate(CUT_WITHOUT_A_HINT) == []


@pytest.mark.parametrize("which", PAGES)
def test_a_phone_shows_every_column(visit, which):
    hidden = "() => [...document.querySelectorAll('th, td')].filter(c => !c.getClientRects().length).length"
    assert visit(which, 390).evaluate(hidden) == 0


@pytest.mark.parametrize("which", PAGES)
def test_a_page_is_readable_without_its_script(visit, which):
    with_script, without = visit(which), visit(which, java_script_enabled=False)
    for heading in with_script.locator("h2").all_inner_texts():
        assert heading in without.locator("body").inner_text()
    assert without.locator("table").count() > 0


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_bars_and_cells_are_printed_without_backgrounds(visit, theme):
    page = visit("8 classes", theme=theme)
    drawn = browser.pdf_drawings(page.pdf(format="A4", print_background=False))
    bars = page.locator(".fill").count() + page.locator("td.right").count()
    assert bars >= 8 + 8 and drawn.count(ACCENT) >= bars
    wrong = page.locator("td.wrong").count()
    assert wrong > 5 and drawn.count(WARM) >= wrong


BROKEN_WORDS = """() => [...document.querySelectorAll('#heat .verdict dd:not(:empty)')].flatMap((box) => {
    const text = box.firstChild;
    return [...text.data.matchAll(/\\w+/g)].filter((word) => {
        const range = document.createRange();
        range.setStart(text, word.index);
        range.setEnd(text, word.index + word[0].length);
        return range.getClientRects().length > 1;
    }).map((word) => word[0]);
})"""
CUT_PICTURES = """() => [...document.querySelectorAll('#heat img')].filter((image) => Math.abs(
    image.offsetWidth / image.offsetHeight - image.naturalWidth / image.naturalHeight) > .05).length"""


@pytest.mark.parametrize("width", [*WIDTHS, A4["width"]])
def test_what_spoke_for_mistakes_is_shown_whole(visit, width):
    """Frames above their heat are no strip of one row, and names on paper keep their words."""
    page = visit("8 classes", width)
    if width == A4["width"]:
        page.emulate_media(media="print")
    assert page.locator("#heat img").count() == 2
    assert page.evaluate(CUT_PICTURES) == 0 and page.evaluate(BROKEN_WORDS) == []
    assert "1 more has no heat" in page.inner_text("#heat .notes")


def test_long_names_of_runs_leave_their_answers_width(visit):
    page = visit("comparison", 390)
    narrowest = """() => Math.min(...[...document.querySelectorAll('#differing dd')]
        .filter(answer => answer.innerText.length > 9).map(answer => answer.offsetWidth))"""
    assert page.evaluate(narrowest) >= 100
    page.set_viewport_size(A4)
    page.emulate_media(media="print")
    assert page.evaluate(narrowest) >= 100


@pytest.mark.parametrize(
    ("which", "most"), [("8 classes", 16), ("400 classes", 26), ("comparison", 12)]
)
def test_a_printed_page_is_whole_and_takes_few_sheets(visit, which, most):
    page = visit(which)
    assert browser.pdf_pages(page.pdf(format="A4", print_background=False)) <= most
    page.set_viewport_size(A4)
    page.emulate_media(media="print")
    boxes = "() => [...document.querySelectorAll('.scroll')].filter(b => b.scrollHeight > b.clientHeight + 1)"
    assert page.evaluate(f"({boxes})().length") == 0
    assert page.evaluate("document.documentElement.scrollWidth") == A4["width"]
    if which.endswith("classes"):
        height = page.evaluate("document.querySelector('#classes .per-class').offsetHeight")
        assert height <= 9 * A4["height"]
        assert page.locator("#classes .per-class tbody tr").count() == int(which.split()[0])


def test_what_is_folded_on_the_screen_is_printed_or_said_to_be_left_out(visit):
    page = visit("31 classes")
    folded = page.locator("details:not([open])")
    assert folded.count() == 3 and not page.get_by_text("3.mp4 ends before").is_visible()
    page.emulate_media(media="print")
    if page.evaluate("!CSS.supports('selector(::details-content)')"):
        pytest.skip("this Chromium cannot unfold what it prints")
    assert page.get_by_text("/data/val/3.mp4 ends before").is_visible()
    assert page.get_by_text("are not printed: they stand in results.json").is_visible()
