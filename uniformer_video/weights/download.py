"""Weights by address: `https://` with a cache and checksums, `hf://` through huggingface_hub."""

import contextlib
import hashlib
import http.client
import ipaddress
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from uniformer_video import __version__
from uniformer_video.errors import CheckpointError, MissingLibraryError
from uniformer_video.files import atomic_write
from uniformer_video.storage.failures import explain_failure
from uniformer_video.weights.container import read_content

TIMEOUT_SECONDS = 30  # without a single byte
_BLOCK_BYTES = 1 << 20
_SCHEME = re.compile(r"(https?|hf):/")


@dataclass(frozen=True)
class _Address:
    """`url` without the fragment, whose sha256 (64 lower-case digits, or None) stands apart."""

    url: str
    sha256: str | None

    @property
    def shown(self):
        """For messages and records: without a query, where access tokens are."""
        return self.url.partition("?")[0]


def is_remote(source):
    """True for `https://`, `http://` and `hf://` addresses, as text or as a `Path` of it."""
    return _SCHEME.match(str(source)) is not None


def shown(source):
    """`source` as messages and records name it: an address without checksum and access tokens."""
    return _parse(source).shown if is_remote(source) else str(source)


def fetch(source):
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
    if target.exists() and address.sha256 in (None, file_sha256(target)):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    _download(address, target)
    return target


def cache_folder():
    """Where downloads are kept."""
    if folder := os.environ.get("UNIFORMER_CACHE"):
        return Path(folder).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "uniformer-video"


def file_sha256(path):
    """Hex digest of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _parse(source):
    # A `Path` has made "//" of an address into "/".
    text = re.sub(r"^(https?|hf):/(?=[^/])", r"\1://", str(source))
    url, _, fragment = text.partition("#")
    if not fragment:
        return _Address(url, None)
    match = re.fullmatch(r"sha256=([0-9a-fA-F]{64})", fragment)
    if not match:
        raise CheckpointError(
            f"{url}: what follows # is sha256= and 64 hexadecimal digits, got {fragment!r}"
        )
    return _Address(url, match[1].lower())


def _check_url(url, sha256):
    """Refuse what has no host, carries a password, or is open to exchange on the way."""
    try:
        parts = urllib.parse.urlsplit(url)
        host = parts.hostname
        _ = parts.port  # raises for a port that is no number
    except ValueError as error:
        raise CheckpointError(f"{url} is not an address: {error}") from None
    if not host or re.search(r"[\s\x00-\x1f]", url):
        raise CheckpointError(f"{url!r} is not an address such as https://host/path/file.pth")
    if parts.username is not None:
        raise CheckpointError(
            f"the address of a file on {host} carries a user name or password, which is not supported; "
            "download the file and give its path"
        )
    if parts.scheme == "http" and not sha256 and not _is_this_computer(host):
        raise CheckpointError(
            f"{url.partition('?')[0]} is not encrypted, so anyone on the way can exchange the file; use "
            "https://, or add #sha256=<digest> to the address"
        )


def _is_this_computer(host):
    if host == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


def _cached_path(url):
    """One file an address, whatever its last part; that part stays readable."""
    last = urllib.parse.unquote(urllib.parse.urlsplit(url).path.rpartition("/")[2])
    readable = re.sub(r"[^\w.-]", "_", last, flags=re.ASCII)[-100:] or "weights"
    return cache_folder() / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}-{readable}"


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects by the rules of the first address, and never from https to http."""

    def __init__(self, sha256):
        self.sha256 = sha256

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        scheme = urllib.parse.urlsplit(newurl).scheme
        if scheme not in ("http", "https") or (req.type == "https" and scheme == "http"):
            raise CheckpointError(
                f"{req.full_url.partition('?')[0]} leads on to {newurl.partition('?')[0]}, which is not "
                "encrypted; it is not followed"
            )
        _check_url(newurl, self.sha256)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _download(address, target):
    request = urllib.request.Request(
        address.url,
        headers={"User-Agent": f"uniformer-video/{__version__}", "Accept-Encoding": "identity"},
    )
    opener = urllib.request.build_opener(_Redirects(address.sha256))
    with _network_errors(address.shown):
        response = opener.open(request, timeout=TIMEOUT_SECONDS)
    with response:
        if response.headers.get_content_type() == "text/html":
            raise CheckpointError(
                f"{address.shown} answered with a web page in place of a file: it asks for a login or a "
                "confirmation; download the file in a browser and give its path"
            )
        length = response.headers.get("Content-Length")
        length = int(length) if length and length.isdigit() else None
        with atomic_write(target) as file:
            size, digest = _copy(response, file, length, address.shown)
            if length is not None and size != length:
                raise CheckpointError(
                    f"{address.shown} was cut off: {size:,} of {length:,} bytes came; try again"
                )
            if address.sha256 not in (None, digest):
                raise CheckpointError(_wrong_digest(address, digest))
            file.flush()
            read_content(file.name, address.shown)  # nothing unreadable enters the cache


def _copy(response, file, length, name):
    """The count and the sha256 of the bytes that came."""
    digest, size = hashlib.sha256(), 0
    bar = tqdm(
        total=length,
        unit="B",
        unit_scale=True,
        desc=name.rpartition("/")[2],
        disable=None,
        leave=False,
    )
    with bar:
        while True:
            with _network_errors(name):
                block = response.read(_BLOCK_BYTES)
            if not block:
                return size, digest.hexdigest()
            file.write(block)
            digest.update(block)
            size += len(block)
            bar.update(len(block))


@contextlib.contextmanager
def _network_errors(name):
    """Every way in which a download fails, as one line. A full disk is not among them."""
    try:
        yield
    except urllib.error.HTTPError as error:
        error.close()
        raise CheckpointError(f"{name}: {_explain_status(error.code)}") from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise CheckpointError(
            f"cannot download {name}: {explain_failure(reason, TIMEOUT_SECONDS)}"
        ) from None


def _explain_status(code):
    if code in (404, 410):
        return f"there is no such file on the server (status {code}); check the address"
    if code in (401, 403):
        return (
            f"the server refuses to give it without a login (status {code}); download it in a browser "
            "and give its path"
        )
    if code in (301, 302, 303, 307, 308):
        return "its redirects lead to no file; check the address"
    return f"the server answered with status {code}; try again later"


def _wrong_digest(address, digest):
    return (
        f"{address.shown} is not the expected file: its sha256 is {digest}, the address says "
        f"{address.sha256}"
    )


def _fetch_from_hub(address):
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
            "hf:// addresses need the library huggingface_hub: pip install 'uniformer-video[hub]'"
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
        if address.sha256 not in (None, digest := file_sha256(path)):
            raise CheckpointError(_wrong_digest(address, digest))
        return Path(path)
    raise CheckpointError(f"cannot download {address.shown}: {reason}")
