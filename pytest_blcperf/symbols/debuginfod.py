"""Debug files from debuginfod servers: only those the user named, in the cache that every client of it shares.

The protocol and the cache's layout are those of debuginfod(8) and debuginfod_find_debuginfo(3) of elfutils: one GET of
`URL/buildid/HEX/debuginfo`, kept as `CACHE/HEX/debuginfo`. Without DEBUGINFOD_URLS nothing is contacted.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from pytest_blcperf.symbols.elf import ElfError, ElfFile

MAX_BYTES = 2 << 30
"""Of one debug file, unless DEBUGINFOD_MAXSIZE says less."""

_SILENCE_S = 90
_TOTAL_S = 600
_RETRY_MISSING_S = 600
_CHUNK = 1 << 20


def urls() -> list[str]:
    """The servers of DEBUGINFOD_URLS, a list with blanks between. Others than http and https are left out."""
    found = os.environ.get("DEBUGINFOD_URLS", "").split()
    return [url.rstrip("/") for url in found if url.startswith(("http://", "https://"))]


def cache_folder() -> Path:
    """Where every debuginfod client keeps its files: DEBUGINFOD_CACHE_PATH, or the user's cache folder."""
    named = os.environ.get("DEBUGINFOD_CACHE_PATH")
    if named:
        return Path(named)
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path("~/.cache").expanduser()) / "debuginfod_client"


def debug_file(build_id: str) -> ElfFile:
    """The debug file with that build-id, from the cache or the first server that has it.

    DEBUGINFOD_TIMEOUT (s without a byte, 90), DEBUGINFOD_MAXTIME (s for a file, 600) and DEBUGINFOD_MAXSIZE (bytes)
    limit a transfer. A file with another build-id is thrown away. Raises ElfError with what the servers said.
    """
    if not build_id or set(build_id) - set("0123456789abcdef"):
        raise ElfError(f"debuginfod: not a build-id: {build_id!r}")
    kept = cache_folder() / build_id / "debuginfo"
    try:
        return _verified(kept, build_id)
    except (OSError, ElfError):
        pass
    if _missing_lately(kept):
        raise ElfError(f"debuginfod: no server had {build_id} when last asked")
    said = []
    for url in urls():
        try:
            return _fetched(f"{url}/buildid/{build_id}/debuginfo", kept, build_id)
        except urllib.error.HTTPError as error:
            said.append(f"{url}: {error.code} {error.reason}")
        except (OSError, http.client.HTTPException, ValueError) as error:
            said.append(f"{url}: {error}")
        except ElfError as error:
            said.append(f"{url}: {error.message}")
    if said and all(": 404 " in one for one in said):
        _note_missing(kept)
    raise ElfError(f"debuginfod: {'; '.join(said)}")


class _SameHost(urllib.request.HTTPRedirectHandler):
    """Follows a server to another address of its own (http to https), never to another server."""

    def redirect_request(  # noqa: PLR0917 (as urllib calls it)
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).hostname != urlsplit(req.full_url).hostname:
            raise urllib.error.HTTPError(req.full_url, code, "sends us to another server, not followed", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _fetched(url: str, kept: Path, build_id: str) -> ElfFile:
    kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=kept.parent, prefix="blcperf.") as file:
        _download(url, file)
        file.flush()
        _verified(Path(file.name), build_id).release()
        # A second name, since the first goes with the block; over whatever is kept there.
        link = Path(f"{file.name}.kept")
        os.link(file.name, link)
        link.replace(kept)
    return _verified(kept, build_id)


def _download(url: str, file: IO[bytes]) -> None:
    """Raises ElfError when it takes too long, whatever the server does: a single answer may come byte by byte."""
    limit_s = _number("DEBUGINFOD_MAXTIME", _TOTAL_S)
    failed: list[Exception] = []
    over = threading.Event()

    def transfer() -> None:
        try:
            _transfer(url, file, over)
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=transfer, daemon=True)
    thread.start()
    thread.join(limit_s)
    over.set()
    if thread.is_alive():
        raise ElfError(f"the transfer took longer than {limit_s} s")
    if failed:
        raise failed[0]


def _transfer(url: str, file: IO[bytes], over: threading.Event) -> None:
    limit = min(MAX_BYTES, _number("DEBUGINFOD_MAXSIZE", MAX_BYTES))
    request = urllib.request.Request(url, headers={"User-Agent": "blcperf"})
    total = 0
    opener = urllib.request.build_opener(_SameHost)
    with opener.open(request, timeout=_number("DEBUGINFOD_TIMEOUT", _SILENCE_S)) as answer:
        while not over.is_set() and (chunk := answer.read1(_CHUNK)):
            total += len(chunk)
            if total > limit:
                raise ElfError(f"the file has more than {limit} bytes")
            file.write(chunk)


def _verified(path: Path, build_id: str) -> ElfFile:
    found = ElfFile.open(path)
    if found.build_id != build_id:
        found.release()
        raise ElfError(f"the file has the build-id {found.build_id or 'none'}")
    return found


def _missing_lately(kept: Path) -> bool:
    """Whether a client, this or another, was told lately that there is no such file: it keeps an empty one."""
    try:
        status = kept.stat()
    except OSError:
        return False
    return status.st_size == 0 and time.time() - status.st_mtime < _RETRY_MISSING_S


def _note_missing(kept: Path) -> None:
    with contextlib.suppress(OSError):
        kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept.write_bytes(b"")


def _number(variable: str, otherwise: int) -> int:
    text = os.environ.get(variable, "")
    return int(text) if text.isdigit() and int(text) else otherwise
