"""What every request passes: host, origin, key, size of the body, counting, and headers for browsers."""

import asyncio
import hmac
import ipaddress
import re
from collections.abc import Callable
from typing import final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from auricle.serving.engine import StoppedError
from auricle.serving.failures import ApiError, api_error
from auricle.serving.metrics import Metrics
from auricle.serving.options import Options

_OPEN = ("/v1/", "/metrics")  # what the key closes; the page and /health stay open
_HARMLESS = ("GET", "HEAD", "OPTIONS")  # methods that have nothing kept or worked for
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


@final
class Gate:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, options: Options, limit: Callable[[str], int], metrics: Metrics) -> None:
        """Takes key, hosts and patience of the options, and what a body may have in bytes, by path."""
        self._app = app
        self._key = options.api_key
        self._hosts = {host.lower() for host in options.hosts}
        self._patience = options.max_idle_seconds
        self._limit = limit
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets a request through, or answers it."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            self._check_host(scope)
            self._check_key(scope)
            self._check_origin(scope)
            await self._app(scope, self._bounded(scope, receive), _in_json(scope, receive, answer))
        except asyncio.CancelledError:  # the server ends, and this task with it
            if not status:
                await api_error(StoppedError()).response()(scope, receive, answer)
        except Exception as error:
            failed = api_error(error)
            if not status:
                await failed.response()(scope, receive, answer)
        finally:
            self._metrics.requests.labels(_endpoint(scope), str(status)).inc()

    def _check_host(self, scope: Scope) -> None:
        """Keeps out web pages whose own name was made to lead to this machine (DNS rebinding).

        An address of numbers is no name that could lead elsewhere, and browsers always say which host they ask.
        Starlette's TrustedHostMiddleware knows no addresses as such and does not answer as OpenAI's clients expect.
        """
        given = Headers(scope=scope).get("host", "")
        name = re.sub(r":\d*$", "", given).removesuffix(".").lower()
        if not given or "*" in self._hosts or name in self._hosts or _address(name):
            return
        raise ApiError(
            400,
            f"The server is not known as '{name[:80]}'; whoever runs it can add the name by --allow-host.",
            "unknown_host",
        )

    def _check_key(self, scope: Scope) -> None:
        if self._key is None or not scope["path"].startswith(_OPEN):
            return
        given = Headers(scope=scope).get("authorization", "")
        if not hmac.compare_digest(given.encode("latin-1"), f"Bearer {self._key}".encode()):
            raise ApiError(
                401,
                "The API key is missing or wrong; send it as 'Authorization: Bearer KEY'.",
                "invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )

    def _check_origin(self, scope: Scope) -> None:
        """Keeps out forms and scripts of other web pages, which browsers let reach any server, cookie or not.

        Browsers say where a request is from by Sec-Fetch-Site or, over plain http and older ones, by Origin alone;
        programs say neither. A key, which was right, is known to no other page.
        """
        if self._key is not None or scope["method"] in _HARMLESS or not scope["path"].startswith("/v1/"):
            return
        headers = Headers(scope=scope)
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        if site is None:
            name = (origin or "").partition("://")[2].lower()
            own = origin is None or name == headers.get("host", "").lower() or name in self._hosts
        else:
            own = site in ("same-origin", "none")
        if not own:
            raise ApiError(
                403,
                "A web page of another origin may not ask this server. Behind a proxy, whoever runs it can add the"
                " name of the page by --allow-host, or set an --api-key.",
                "cross_origin",
            )

    def _bounded(self, scope: Scope, receive: Receive) -> Receive:
        """Counts the body, whatever its header says, and waits for more of it only so long."""
        limit, size, more = self._limit(scope["path"]), 0, True
        promised = Headers(scope=scope).get("content-length", "0")
        if not promised.isascii() or not promised.isdigit() or int(promised[:20]) > limit:
            raise _too_large(limit)

        async def counted() -> Message:
            nonlocal size, more
            try:
                message = await asyncio.wait_for(receive(), self._patience if more else None)
            except TimeoutError:
                raise ApiError(
                    408, f"Nothing more of the request came for {self._patience:g} s; send it again.", "timeout"
                ) from None
            more = message.get("more_body", False)
            size += len(message.get("body", b""))
            if size > limit:
                raise _too_large(limit)
            return message

        return counted


def _in_json(scope: Scope, receive: Receive, send: Send) -> Send:
    """Has what Starlette's files say in plain text of a Range that they do not have said as every other error."""
    refused: Message | None = None

    async def answer(message: Message) -> None:
        nonlocal refused
        if message["type"] == "http.response.start" and message["status"] >= 400:
            headers = Headers(scope=message)
            refused = message if headers.get("content-type", "").startswith("text/plain") else None
        if refused is None:
            return await send(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            told = Headers(scope=refused)
            kept = {name: told[name] for name in ("Content-Range",) if name in told}
            text = message["body"].decode() or "The file ends before the Range begins."
            await ApiError(refused["status"], text, "invalid_range", headers=kept).response()(scope, receive, send)

    return answer


def _address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def _too_large(limit: int) -> ApiError:
    return ApiError(413, f"The request is larger than {limit / 1e6:.1f} MB.", "upload_too_large")


def _endpoint(scope: Scope) -> str:
    """The route's template, so that there are few; not what the client made of it."""
    return str(getattr(scope.get("route"), "path", "other"))
