"""The API reference for people, and the headers that let other sites use the client module."""

from __future__ import annotations

import json

from flask import Blueprint, Response, abort, make_response, render_template, request
from markupsafe import Markup, escape

from app.runtime.runtime import runtime
from app.web.openapi.document import document
from app.web.openapi.example_calls import CALLS
from app.web.openapi.reference import list_codes, list_problems, list_routes
from app.web.routes.client_module import client_module

blueprint = Blueprint("documents", __name__)

_POLICY = "default-src 'none'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
# The page has no script at all.
DOCS_POLICY = _POLICY + "style-src 'self'"
# Redoc adds two style elements: one of its scroll bars with a constant text, and one that is empty when it is added
# and filled by script. Both are allowed by their hashes, which change only with the pinned file.
VIEWER_POLICY = (
    _POLICY + "script-src 'self'; connect-src 'self'; style-src 'self'"
    " 'sha256-QMIg+bpjm3JdElJ388KYke01izlUW0UoNOeKjpMxdgc=' 'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"
)
# The module and its types hold no secret, and pages of any origin import them.
CLIENT_FILES = ("/static/sluice.js", "/static/sluice.d.ts", "/static/sluice-")
EXAMPLE_PROBLEM = {
    "type": "about:blank",
    "title": "Unprocessable Entity",
    "status": 422,
    "detail": "The request has errors.",
    "code": "fields_invalid",
    "request_id": "5f0c2b9e7d1a4c3b8e6f0a12",
    "errors": [{"field": "limit", "message": "must be a whole number from 1 to 100"}],
}


@blueprint.get("/docs")
def show_routes() -> Response:
    """Serve the page of routes, example calls and errors, made from the OpenAPI document."""
    spec = document()
    base = runtime().settings.public_url.rstrip("/")
    page = render_template(
        "docs.html",
        spec=spec,
        groups=list_routes(spec, base, CALLS),
        problems=list_problems(spec),
        codes=list_codes(spec),
        example_problem=json.dumps(EXAMPLE_PROBLEM, indent=2),
        client=client_module(),
        import_map=client_module().import_map(base),
    )
    return _with_policy(page, DOCS_POLICY)


@blueprint.get("/docs/reference")
def show_schemas() -> Response:
    """Serve the viewer (Redoc) of the OpenAPI document."""
    return _with_policy(render_template("reference.html"), VIEWER_POLICY)


def _with_policy(page: str, policy: str) -> Response:
    response = make_response(page)
    response.headers["Content-Security-Policy"] = policy
    return response


@blueprint.get("/static/sluice-<tag>.js")
def show_client_module(tag: str) -> Response:
    """Serve the browser module under the URL of its content, which browsers keep; 404 for another content's URL."""
    module = client_module()
    if tag != module.tag:
        abort(404, "This is not the module's URL any more: /docs shows the one of this version.")
    response = make_response(module.content)
    response.mimetype = "text/javascript"
    response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    return response


@blueprint.app_template_filter("inline_code")
def inline_code(text: str) -> Markup:
    """Return `text` escaped, with each part between backticks as code."""
    parts = text.split("`")
    # An unpaired backtick stays a character.
    if len(parts) % 2 == 0:
        parts[-2:] = ["`".join(parts[-2:])]
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if index % 2 else escape(part) for index, part in enumerate(parts)
    )


@blueprint.after_app_request
def open_client_files(response: Response) -> Response:
    """Let pages of other origins import the client module, which browsers allow only with these headers."""
    path = request.path
    if path.startswith(CLIENT_FILES):
        response.headers["Access-Control-Allow-Origin"] = "*"
        response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
        if path.endswith(".d.ts"):
            # The system's table of media types has ".ts" as a video.
            response.mimetype = "text/plain"
    return response
