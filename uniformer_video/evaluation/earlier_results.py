"""Results of earlier versions, brought into the form of today's."""

from collections.abc import Mapping
from typing import Any

from uniformer_video.config.recorded import config_from_text
from uniformer_video.data.protocol import Protocol

_BESIDE_PROTOCOL = ("playback", "videos_sha256")  # in schema 1 they stood inside it


def from_schema_1(results: Mapping[str, Any], source: str) -> Mapping[str, Any]:
    """A record of schema 1 as one of schema 2: its protocol lacked what the settings of the run tell.

    `source` names it in messages. A record that lacks its protocol is returned as it is.
    """
    given = results.get("protocol")
    if not isinstance(given, dict):
        return results
    settings = config_from_text(results.get("settings") or "{}", source)
    inside = {key: value for key, value in given.items() if key not in _BESIDE_PROTOCOL}
    protocol = Protocol.from_dict({**Protocol.from_cfg(settings).to_dict(), **inside}, source)
    beside = {"playback": given.get("playback", "forward")}
    beside["videos_sha256"] = given.get("videos_sha256", "")
    return {**results, "schema_version": 2, "protocol": protocol.to_dict(), **beside}
