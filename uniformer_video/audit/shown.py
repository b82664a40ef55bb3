"""What the page of an audit shows: the first suspects and pairs, with frames."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from uniformer_video.audit.audit import Audit
from uniformer_video.audit.duplicates import FEATURES, FILE, Pair
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.evaluation.strips import jpeg_uri
from uniformer_video.words import name_some, plural

MAX_LEFT_OUT = 100
_Pictures = tuple[Mapping[VideoRecord, bytes], Mapping[VideoRecord, str]]


def shown_records(audit: Audit, most: int) -> list[VideoRecord]:
    """The records that the page shows, each once: of so many suspects, and as many pairs."""
    places = audit.judged[audit.suspicions.order[:most]].tolist()
    places += [place for pair in audit.pairs[:most] for place in (pair.first, pair.second)]
    return list(dict.fromkeys(audit.videos[place].record for place in places))


def page_record(
    audit: Audit, title: str, most: int, pictures: _Pictures, facts: Sequence[tuple[str, Any]]
) -> dict[str, Any]:
    """What `write_audit_page` takes.

    most: suspects and pairs that are shown. pictures: what `strips_of` gives for `shown_records`. facts:
    lines on how it was made.
    """
    found = audit.suspicions
    suspects = [
        {
            **_video(audit, int(audit.judged[at]), pictures),
            "rank": rank,
            "suggested": audit.class_names[found.suggested[at]],
            "given_probability": float(
                audit.probabilities[at, audit.videos[audit.judged[at]].label]
            ),
            "suggested_probability": float(audit.probabilities[at, found.suggested[at]]),
            "likely": bool(found.contradicted[at]),
        }
        for rank, at in enumerate(found.order[:most].tolist(), start=1)
    ]
    left_out = sorted(audit.left_out.items())
    return {
        "title": title,
        "class_names": list(audit.class_names),
        "videos": len(audit.videos),
        "judged": len(audit.judged),
        "wrong": len(audit.likely_wrong),
        "noise": found.noise,
        "counts": found.counts.tolist(),
        "joint": found.joint.tolist(),
        "suspects": suspects,
        "pairs": len(audit.pairs),
        "leaks": len(audit.leaks),
        "disagreeing": len(audit.disagreeing),
        "duplicates": [_pair(audit, pair, pictures) for pair in audit.pairs[:most]],
        "notes": all_notes(audit),
        "facts": facts,
        "footage": audit.footage,
        "left_out": [
            {"name": audit.videos[place].name, "reason": reason}
            for place, reason in left_out[:MAX_LEFT_OUT]
        ],
        "left_out_total": len(left_out),
    }


def all_notes(audit: Audit) -> list[str]:
    """What the reader of a page or a terminal must know: small classes, and what was left out."""
    notes = list(audit.notes)
    for left_out, words in (
        (audit.left_out, "whose label is not judged"),
        (audit.not_compared, "whose footage is not compared"),
    ):
        if left_out:
            some = [
                f"{audit.videos[place].name} ({reason})"
                for place, reason in sorted(left_out.items())
            ]
            notes.append(f"{plural(len(left_out), 'video')} {words}: {name_some(some, mark='; ')}.")
    return notes


def _video(audit: Audit, place: int, pictures: _Pictures) -> dict[str, Any]:
    listed = audit.videos[place]
    strips, failed = pictures
    return {
        "name": os.path.basename(listed.name) if not listed.record.name else listed.record.name,
        "path": listed.name,
        "part": listed.part,
        "label": audit.class_names[listed.label],
        "strip": jpeg_uri(strips.get(listed.record, b"")),
        "reason": failed.get(listed.record, ""),
    }


def _pair(audit: Audit, pair: Pair, pictures: _Pictures) -> dict[str, Any]:
    first, second = audit.videos[pair.first], audit.videos[pair.second]
    cosine = "" if pair.cosine is None else f"cosine {pair.cosine:.3f}"
    if pair.how == FILE:
        words = "One file in two lines"
    elif pair.how == FEATURES:
        words = f"Alike to the model, {cosine}"
    else:
        words = f"The same footage, {pair.bits:.1f} of 64 bits apart" + (cosine and f", {cosine}")
    return {
        "words": words,
        "differ": first.label != second.label,
        "lists": f"between {first.part} and {second.part}"
        if first.part != second.part
        else f"both in {first.part}",
        "first": _video(audit, pair.first, pictures),
        "second": _video(audit, pair.second, pictures),
    }
