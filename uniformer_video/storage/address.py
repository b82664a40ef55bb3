"""Addresses of files: told from paths, joined, cleaned for messages, refused with a secret in them."""

import os
import re
import urllib.parse
from pathlib import Path

from uniformer_video.errors import ConfigError

HTTP = re.compile("https?://")
_USER_INFO = re.compile(r"(?<=://)[^/]*@")
_ONE_SLASH = re.compile(r"^(https?|hf):/(?=[^/])")
_SCHEME = re.compile("[A-Za-z][A-Za-z0-9+.-]+://")
_CHECKSUM = re.compile("#sha256=[0-9a-fA-F]*$")


def is_address(place: Path | str) -> bool:
    """True for what is no path of this computer's files."""
    return "://" in str(place)


def address_text(place: Path | str) -> str:
    """The text of a place; a `Path` of an address has lost one of the slashes, which comes back."""
    return _ONE_SLASH.sub(r"\1://", str(place))


def join(folder: Path | str, *names: str) -> str:
    """The place of a file in a folder."""
    if not is_address(folder):
        return os.path.join(folder, *names)
    address = str(folder)
    quoted = map(urllib.parse.quote, names) if HTTP.match(address) else names
    return "/".join([address.rstrip("/"), *quoted])


def name_for_messages(place: Path | str) -> str:
    """`place` as messages and records name it: an address without user, password, query and checksum."""
    name = address_text(place)
    if not is_address(name):
        return name
    plain = _CHECKSUM.sub("", _USER_INFO.sub("", name))
    return plain.partition("?")[0] if HTTP.match(plain) else plain


def public_name(address: str) -> str:
    """The address of a stream as messages name it: without user, password, query and fragment.

    Whatever stands before the last @ is left out, also where a password holds a slash; so it is in what only
    resembles an address.
    """
    scheme, mark, rest = address.partition("://")
    if not mark:
        return address.rpartition("@")[2] if ":" in address and "@" in address else address
    rest = rest.rpartition("@")[2]
    return f"{scheme}://{rest.partition('?')[0].partition('#')[0]}"


def is_network_address(place: Path | str) -> bool:
    """True for `rtsp://host` and the like; a drive of Windows, `C://videos`, is none."""
    return bool(_SCHEME.match(str(place)))


def check_no_secret(address: str, setting: str) -> None:
    """Refuse an address with a password or a token: it would be written into logs and results."""
    user = _USER_INFO.search(address)
    if (user and ":" in user[0]) or (HTTP.match(address) and (user or "?" in address)):
        raise ConfigError(
            f"{setting} {name_for_messages(address)} carries a password or a token, which would be written "
            "into results; leave it out: libraries of storage such as s3:// read it from the environment "
            "or from files of their own"
        )
