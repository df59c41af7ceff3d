"""JSON over HTTP, bounded: a time limit, a size limit, few pages, and no credential that leaves its host."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from pytest_blcperf.errors import BlcperfError, ExitCode, PermissionDenied, UsageError
from pytest_blcperf.report.text import clean

if TYPE_CHECKING:
    import requests

TIMEOUT = (10, 60)
"""Seconds to connect, and between two pieces of an answer."""
ANSWER_LIMIT = 32 << 20
"""Bytes of a JSON answer."""
PAGE_LIMIT = 20
_REDIRECTS = 3
_ATTEMPTS = 3


class PlatformError(BlcperfError):
    """The platform does not answer, or not as its documentation says."""

    exit_code = ExitCode.TARGET


class Client:
    """One API. `root` is its address without a final slash; `headers` hold the credential and go to that host alone.

    `pause` is the number of seconds before a second attempt; it doubles.
    """

    def __init__(self, root: str, headers: Mapping[str, str], *, pause: float = 1.0) -> None:
        parts = urlsplit(root)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise UsageError(f"not the address of an API: {clean(root, 80)!r}", "for example https://api.github.com")
        self._root, self._headers, self._session = root.rstrip("/"), dict(headers), _session(pause)

    def get(self, path: str, **parameters: str | int) -> Any:
        """The JSON answer to a GET. Raises PlatformError, PermissionDenied."""
        return self._json(self._open("GET", self._root + path, params=parameters))

    def pages(self, path: str, key: str | None = None, **parameters: str | int) -> Iterator[dict[str, Any]]:
        """The objects of a list that comes in pages, following `Link: <…>; rel="next"`, at most PAGE_LIMIT pages.

        `key` is the member of each page that holds the list; None when the page is the list itself.
        """
        url: str | None = self._root + path
        given: Mapping[str, str | int] | None = {"per_page": 100, **parameters}
        for _ in range(PAGE_LIMIT):
            if url is None:
                return
            answer = self._open("GET", url, params=given)
            page = self._json(answer)
            found = page.get(key) if key is not None and isinstance(page, dict) else page
            if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
                raise PlatformError(f"{_shown(url)} gave no list", "is it the API's address?")
            yield from found
            url, given = self._next(answer), None

    def download(self, path: str, limit: int) -> bytes:
        """The bytes of a file, at most `limit`. Raises PlatformError, PermissionDenied."""
        return _bounded(self._open("GET", self._root + path), limit)

    def send(self, method: str, path: str, data: Mapping[str, Any]) -> Any:
        """The JSON answer to a POST, PUT or PATCH of JSON data; never repeated. Raises PlatformError."""
        return self._json(self._open(method, self._root + path, json=data))

    def _next(self, answer: requests.Response) -> str | None:
        target = answer.links.get("next", {}).get("url")
        if target is None:
            return None
        url = urljoin(answer.url, target)
        if not self._is_own(url):
            raise PlatformError(f"the next page is on another host: {_shown(url)}", "is a proxy in between?")
        return url

    def _is_own(self, url: str) -> bool:
        return urlsplit(url)[:2] == urlsplit(self._root)[:2]

    def _open(self, method: str, url: str, **given: Any) -> requests.Response:
        """The answer, its body not yet read. Redirects are followed by hand: the credential stays on its host."""
        import requests

        start = url
        for _ in range(_REDIRECTS + 1):
            headers = self._headers if self._is_own(url) else {}
            try:
                answer = self._session.request(
                    method, url, headers=headers, timeout=TIMEOUT, stream=True, allow_redirects=False, **given
                )
            except (requests.RequestException, ValueError) as error:
                raise PlatformError(f"{_shown(url)} does not answer: {_reason(error)}", "try the job again") from None
            if not answer.is_redirect or method != "GET":
                return _checked(answer, start)
            target = urljoin(url, answer.headers["location"])
            if urlsplit(target).scheme != "https" and not self._is_own(target):
                raise PlatformError(f"{_shown(url)} redirects to {_shown(target)}", "https is expected there")
            answer.close()
            url, given = target, {}
        raise PlatformError(f"{_shown(start)} redirects more than {_REDIRECTS} times", "try the job again")

    def _json(self, answer: requests.Response) -> Any:
        data = _bounded(answer, ANSWER_LIMIT)
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            raise PlatformError(f"{_shown(answer.url)} gave no JSON", "is it the API's address?") from None


def _session(pause: float) -> requests.Session:
    try:
        import requests
        from requests.adapters import HTTPAdapter
        from urllib3.util import Retry
    except ImportError:
        raise UsageError("the platforms' APIs need the package requests", "pip install 'pytest-blcperf[ci]'") from None
    session = requests.Session()
    session.auth = _leave_alone  # without it, a .netrc entry for the host would replace the credential
    retry = Retry(
        total=_ATTEMPTS - 1,
        backoff_factor=pause,
        status_forcelist=(429, 500, 502, 503, 504),
        allowed_methods=("GET",),
        raise_on_status=False,
        respect_retry_after_header=False,  # it may ask for an hour
        redirect=False,
    )
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=retry))
    return session


def _leave_alone(request: Any) -> Any:
    return request


def _checked(answer: requests.Response, url: str) -> requests.Response:
    if answer.status_code < 300:
        return answer
    said = _message(answer)
    answer.close()
    if answer.status_code in (401, 403):
        raise PermissionDenied(
            f"{_shown(url)} answers {answer.status_code}: {said}",
            "check the token and its permissions (GitHub: actions: read, pull-requests: read or write)",
        )
    raise PlatformError(f"{_shown(url)} answers {answer.status_code}: {said}", "does it exist, and is it readable?")


def _message(answer: requests.Response) -> str:
    """The platform's own words, if it has any."""
    try:
        said = json.loads(_bounded(answer, 64 << 10))
    except (BlcperfError, ValueError, RecursionError):
        return clean(answer.reason or "no reason given", 100)
    found = (said.get("message") or said.get("error")) if isinstance(said, dict) else None
    return clean(str(found or answer.reason), 200)


def positive(data: Mapping[str, Any], key: str) -> int:
    """A member of an answer that is a positive whole number, such as an id; 0 when it is anything else."""
    value = data.get(key)
    return value if type(value) is int and value > 0 else 0


def _bounded(answer: requests.Response, limit: int) -> bytes:
    """The body, at most `limit` bytes, unpacked where it came compressed."""
    import requests

    found = bytearray()
    try:
        for piece in answer.iter_content(64 << 10):
            found += piece
            if len(found) > limit:
                raise PlatformError(f"{_shown(answer.url)} gives more than {limit:,} bytes", "is it the right file?")
    except (requests.RequestException, ValueError) as error:
        raise PlatformError(f"{_shown(answer.url)} broke off: {_reason(error)}", "try the job again") from None
    finally:
        answer.close()
    return bytes(found)


def _shown(url: str) -> str:
    """An address without its query, which may hold a signature."""
    parts = urlsplit(url)
    return clean(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}", 200)


def _reason(error: Exception) -> str:
    """The innermost reason, without the queries of addresses."""
    return clean(re.sub(r"\?[^\s'\")]*", "", str(error).rpartition("Caused by ")[2]), 160)
