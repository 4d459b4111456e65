"""Flask without the parts of a request that Sluice does not use; they cost a fifth of an empty request."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import orjson
from flask import Flask, Request, Response
from flask.json.provider import JSONProvider
from flask.typing import ResponseReturnValue
from werkzeug.routing import MapAdapter

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


class OrjsonProvider(JSONProvider):
    """JSON of answers, in the order of their keys."""

    def dumps(self, obj: Any, **_: Any) -> str:
        return orjson.dumps(obj).decode()

    def loads(self, s: str | bytes, **_: Any) -> Any:
        return orjson.loads(s)

    def response(self, *args: Any, **kwargs: Any) -> Response:
        body = orjson.dumps(self._prepare_response_obj(args, kwargs))
        return LeanResponse(body, content_type="application/json")


class LeanResponse(Response):
    """A response whose headers are complete when the application returns it, as those of all our routes are."""

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer; HEAD, streams and answers without a body are left to the library."""
        body = self.response
        if type(body) is not list or environ["REQUEST_METHOD"] == "HEAD" or self.status_code in (204, 304):
            return super().__call__(environ, start_response)
        start_response(self.status, self.headers.to_wsgi_list())
        return body


class LeanFlask(Flask):
    """Routes by path alone, with plain functions as views."""

    response_class = LeanResponse
    json_provider_class = OrjsonProvider

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Return the router of one request; the library would check and encode the client's Host header twice."""
        if request is None or "HTTP_UPGRADE" in request.environ:
            return super().create_url_adapter(request)
        environ = request.environ
        # PEP 3333 has the path's bytes as characters.
        path = environ["PATH_INFO"].encode("latin-1").decode(errors="replace")
        scheme, query = environ["wsgi.url_scheme"], environ.get("QUERY_STRING", "")
        return MapAdapter(self.url_map, "", "", "", scheme, path, request.method, query)

    def preprocess_request(self) -> ResponseReturnValue | None:
        """Call what is registered before every request; blueprints have nothing of their own."""
        for before in self.before_request_funcs[None]:
            answer: ResponseReturnValue | None = before()  # type: ignore[assignment]
            if answer is not None:
                return answer
        return None

    def process_response(self, response: Response) -> Response:
        """Call what is registered after every request, the last first; there are no sessions to save."""
        for after in reversed(self.after_request_funcs[None]):
            response = after(response)
        return response

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function: none of ours is asynchronous, which the library would check at each call."""
        return func
