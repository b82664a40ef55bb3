"""Weights by address: `https://` with a cache and checksums, `hf://` through huggingface_hub."""

import contextlib
import hashlib
import ipaddress
import math
import os
import re
import urllib.parse
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from tqdm import tqdm

from uniformer_video import __version__
from uniformer_video.errors import AbsentError, CheckpointError, DataError, MissingLibraryError
from uniformer_video.files import atomic_write
from uniformer_video.program import install
from uniformer_video.storage.address import address_text, name_for_messages
from uniformer_video.storage.http import Stream, open_stream
from uniformer_video.weights.container import read_content
from uniformer_video.weights.file_kinds import files_of

_BLOCK_BYTES = 1 << 20
_SCHEME = re.compile(r"(https?|hf):/")


@dataclass(frozen=True)
class _Address:
    """`url` without the fragment, whose sha256 (64 lower-case digits, or None) stands apart."""

    url: str
    sha256: str | None

    @property
    def name(self) -> str:
        """For messages: without a query, where access tokens are."""
        return name_for_messages(self.url)


def is_remote(source: Path | str) -> bool:
    """True for `https://`, `http://` and `hf://` addresses, as text or as a `Path` of it."""
    return _SCHEME.match(str(source)) is not None


def fetch(source: Path | str) -> Path:
    """The local `Path` of a weights file, downloaded when it is an address and not in the cache yet.

    Args:
        source: a local path, returned as it is; `https://host/file`; or `hf://owner/repo/file`, with
            `hf://owner/repo@revision/file` for another revision than main. Addresses may end in
            `#sha256=<64 hex digits>`, which is checked, also for a cached file. `http://` needs one,
            except on this computer: without encryption anyone on the way can exchange the file.

    The cache is the folder in UNIFORMER_CACHE, else `uniformer-video` in XDG_CACHE_HOME or `~/.cache`;
    huggingface_hub has its own. Raises `CheckpointError` with one line for whatever goes wrong on the
    way, and `OSError` when the cache cannot be written.
    """
    if not is_remote(source):
        if not str(source) or "://" in str(source):
            raise CheckpointError(
                f"{str(source)!r} is no place of weights: weights come from a local path, an https:// "
                "address or hf://owner/repo/file, or by a published name"
            )
        return Path(source)
    address = _parse(source)
    if address.url.startswith("hf://"):
        return _fetch_from_hub(address)
    _check_url(address.url, address.sha256)
    target = _cached_path(address.url)
    if target.exists() and (not address.sha256 or address.sha256 == file_sha256(target)):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    _download(address, target)
    return target


def cache_folder() -> Path:
    """Where downloads are kept."""
    if folder := os.environ.get("UNIFORMER_CACHE"):
        return Path(folder).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "uniformer-video"


def file_sha256(path: Path | str) -> str:
    """Hex digest of a file's bytes; of weights in parts, of those of its list and all parts in order."""
    digest = hashlib.sha256()
    for part in files_of(path):
        with open(part, "rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
    return digest.hexdigest()


def _parse(source: Path | str) -> _Address:
    url, _, fragment = address_text(source).partition("#")
    if not fragment:
        return _Address(url, None)
    match = re.fullmatch(r"sha256=([0-9a-fA-F]{64})", fragment)
    if not match:
        raise CheckpointError(
            f"{name_for_messages(url)}: what follows # is sha256= and 64 hexadecimal digits, got {fragment!r}"
        )
    return _Address(url, match[1].lower())


def _check_url(url: str, sha256: str | None) -> None:
    """Refuse what has no host, carries a password, or is open to exchange on the way."""
    try:
        parts = urllib.parse.urlsplit(url)
        host = parts.hostname
        _ = parts.port  # raises for a port that is no number
    except ValueError as error:
        raise CheckpointError(f"{name_for_messages(url)} is not an address: {error}") from None
    if not host or re.search(r"[\s\x00-\x1f]", url):
        raise CheckpointError(
            f"{name_for_messages(url)!r} is not an address such as https://host/path/file.pth"
        )
    if parts.username is not None:
        raise CheckpointError(
            f"the address of a file on {host} carries a user name or password, which is not supported; "
            "download the file and give its path"
        )
    if parts.scheme == "http" and not sha256 and not _is_this_computer(host):
        raise CheckpointError(
            f"{name_for_messages(url)} is not encrypted, so anyone on the way can exchange the file; use "
            "https://, or add #sha256=<digest> to the address"
        )


def _is_this_computer(host: str) -> bool:
    if host == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


def _cached_path(url: str) -> Path:
    """One file an address, whatever its last part; that part stays readable."""
    last = urllib.parse.unquote(urllib.parse.urlsplit(url).path.rpartition("/")[2])
    readable = re.sub(r"[^\w.-]", "_", last, flags=re.ASCII)[-100:] or "weights"
    return cache_folder() / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}-{readable}"


def _download(address: _Address, target: Path) -> None:
    check_redirect = partial(_check_url, sha256=address.sha256)
    try:
        with open_stream(address.url, check_redirect=check_redirect) as stream:
            if stream.content_type == "text/html":
                raise CheckpointError(
                    f"{address.name} answered with a web page in place of a file: it asks for a login or a "
                    "confirmation; download the file in a browser and give its path"
                )
            with atomic_write(target) as file:
                digest = _copy(stream, file, address.name)
                if address.sha256 not in (None, digest):
                    raise CheckpointError(_wrong_digest(address, digest))
                file.flush()
                read_content(file.name, address.name)  # nothing unreadable enters the cache
    except AbsentError as error:
        raise CheckpointError(
            f"{error}; check the address, or download the file in a browser and give its path"
        ) from None
    except DataError as error:
        raise CheckpointError(str(error)) from None


def _copy(stream: Stream, file: IO[bytes], name: str) -> str:
    """Write the bytes that come into `file`; their sha256."""
    digest = hashlib.sha256()
    bar = tqdm(
        total=None if stream.size == math.inf else stream.size,
        unit="B",
        unit_scale=True,
        desc=name.rpartition("/")[2],
        disable=None,
        leave=False,
    )
    with bar:
        for block in stream:
            file.write(block)
            digest.update(block)
            bar.update(len(block))
    return digest.hexdigest()


def _wrong_digest(address: _Address, digest: str) -> str:
    return (
        f"{address.name} is not the expected file: its sha256 is {digest}, the address says "
        f"{address.sha256}"
    )


def _fetch_from_hub(address: _Address) -> Path:
    match = re.fullmatch(r"hf://([^/@]+)/([^/@]+)(?:@([^/]+))?/(.+)", address.url)
    if not match:
        raise CheckpointError(
            f"{address.url} is not of the form hf://owner/repo/file or hf://owner/repo@revision/file"
        )
    owner, repo, revision, file = match.groups()
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ImportError:
        raise MissingLibraryError(
            f"hf:// addresses need the library huggingface_hub: {install('hub')}"
        ) from None
    try:
        path = huggingface_hub.hf_hub_download(
            f"{owner}/{repo}",
            file,
            revision=urllib.parse.unquote(revision) if revision else None,
            endpoint=os.environ.get("HF_ENDPOINT"),
            library_name="uniformer-video",
            library_version=__version__,
        )
    except errors.GatedRepoError:
        reason = f"{owner}/{repo} is gated: accept its terms on its page, then log in with `hf auth login`"
    except errors.RepositoryNotFoundError:
        reason = (
            f"there is no repository {owner}/{repo}, or it is private: log in with `hf auth login`"
        )
    except errors.RevisionNotFoundError:
        reason = f"{owner}/{repo} has no revision {revision}"
    except errors.LocalEntryNotFoundError:  # before its parent, a file that the hub does not have
        reason = "the hub cannot be reached and the file is not in its cache; check the network"
    except errors.EntryNotFoundError:
        reason = f"{owner}/{repo} has no file {file}"
    except Exception as error:  # of the library, of its HTTP client (no base class), or of the disk
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
    else:
        if address.sha256 and address.sha256 != (digest := file_sha256(path)):
            raise CheckpointError(_wrong_digest(address, digest))
        return Path(path)
    raise CheckpointError(f"cannot download {address.name}: {reason}")
