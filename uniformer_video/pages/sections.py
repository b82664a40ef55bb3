"""Sections of the report page that come from outside."""

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uniformer_video.errors import ConfigError
from uniformer_video.plugins import check_registered, is_defined_again
from uniformer_video.words import one_line

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Section:
    title: str
    build: Callable[[Mapping, Path], str | None]


_SECTIONS: dict[str, _Section] = {}


def register_report_section(title: str, build: Callable[[Mapping, Path], str | None]) -> None:
    """Add a section to every report page, before its details.

    Args:
        title: the heading.
        build: `build(results, folder)`, from what `results.json` holds and the folder it lies in, gives the
            section's HTML, or None for none. Text in it must be escaped (`html.escape`). Pages load nothing
            and run no script but their own; pictures are `data:` URIs or SVG.

    Code that is run again replaces its own sections. Raises `ConfigError` for a title in use.
    """
    check_registered("report section", "section", build)
    if not isinstance(title, str) or not title.strip():
        raise ConfigError(f"a report section has the title {title!r}; it is a text")
    known = _SECTIONS.get(title)
    if known and not is_defined_again(known.build, build):
        raise ConfigError(f"the report has a section {title!r} already; choose another title")
    _SECTIONS[title] = _Section(title, build)


def build_sections(results: Mapping[str, Any], folder: Path) -> list[dict[str, str]]:
    """The sections for a page: `{"id", "title", "html"}` each. One that fails is left out with a warning."""
    built = []
    for section in _SECTIONS.values():
        try:
            html = section.build(results, folder)
        except Exception as error:  # of code that is not ours
            log.warning(
                "The section %r is not in the report: %s: %s",
                section.title,
                type(error).__name__,
                one_line(error),
            )
            continue
        if html:
            name = re.sub(r"\W+", "-", section.title.lower()).strip("-")
            built.append({"id": f"section-{name}", "title": section.title, "html": str(html)})
    return built
