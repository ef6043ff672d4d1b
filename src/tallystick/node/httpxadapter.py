"""An httpx transport over the sealed stream (extra `[httpx]`): `httpx.AsyncClient(transport=SealedHttpx(client.request))`.

Imported only by who uses it. The origin in the URL is ignored: a session has one house at its other end.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import httpx

from tallystick.errors import TallyError, Unavailable
from tallystick.node.httpclient import Body, Headers, Response

# httpx adds these for a network with hops and other encodings; here they would only be committed to for nothing.
_LEFT_OUT: Final = frozenset({"connection", "content-length", "transfer-encoding", "host", "keep-alive", "te", "upgrade", "expect"})

Request = Callable[[str, str, Headers, Body], Awaitable[Response]]


class _Body(httpx.AsyncByteStream):
    def __init__(self, response: Response) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._response.aiter_bytes():
                yield piece
        except TallyError as error:
            raise httpx.ReadError(error.message) from error

    async def aclose(self) -> None:
        await self._response.aclose()


class SealedHttpx(httpx.AsyncBaseTransport):
    """`request` is `HttpClient.request`, or a function of the same shape that signs first.

    Errors of ours become `httpx.ConnectError` (the session is over) or `httpx.ProtocolError`, with ours as `__cause__`.
    """

    def __init__(self, request: Request) -> None:
        self._request = request

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        headers: dict[str, str] = {}
        for name, value in ((name.decode("ascii").lower(), value.decode("latin-1")) for name, value in request.headers.raw):
            if name not in _LEFT_OUT:
                headers[name] = f"{headers[name]}{'; ' if name == 'cookie' else ', '}{value}" if name in headers else value
        body: Body
        if isinstance(request.stream, httpx.ByteStream):
            body = await request.aread() or None
            if body is None and request.method in ("POST", "PUT", "PATCH"):
                body = b""
        elif isinstance(request.stream, httpx.AsyncByteStream):
            body = aiter(request.stream)
        else:
            raise httpx.UnsupportedProtocol("a synchronous body cannot be streamed by an asynchronous client")
        try:
            response = await self._request(request.method, request.url.raw_path.decode("ascii"), list(headers.items()), body)
        except Unavailable as error:
            raise httpx.ConnectError(error.message, request=request) from error
        except TallyError as error:
            raise httpx.ProtocolError(error.message, request=request) from error
        return httpx.Response(response.status, headers=list(response.headers), stream=_Body(response))
