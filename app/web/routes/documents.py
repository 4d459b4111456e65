"""The readable API reference, and what the files of the client module need to be used from other sites."""

from __future__ import annotations

from flask import Blueprint, Response, make_response, render_template, request
from markupsafe import Markup, escape

from app.runtime.runtime import runtime
from app.web.openapi.document import document
from app.web.openapi.example_calls import CALLS
from app.web.openapi.reference import list_operations, list_schemas

documents = Blueprint("documents", __name__)

# The page has no script at all, so nothing but its own style sheet and icon is allowed.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
# The module and its types: no secret in them, and pages of any origin import them.
CLIENT_FILES = ("/static/sluice.js", "/static/sluice.d.ts", "/static/sluice/")


@documents.get("/docs")
def reference() -> Response:
    """Serve the reference made from the OpenAPI document."""
    spec = document()
    page = render_template(
        "docs.html",
        spec=spec,
        groups=list_operations(spec, runtime().settings.public_url, CALLS),
        schemas=list_schemas(spec),
    )
    response = make_response(page)
    response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    return response


@documents.app_template_filter("inline_code")
def inline_code(text: str) -> Markup:
    """Mark what stands between backticks as code; everything is escaped."""
    parts = text.split("`")
    # A lone backtick opens nothing: it stays a character.
    if len(parts) % 2 == 0:
        parts[-2:] = ["`".join(parts[-2:])]
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if index % 2 else escape(part) for index, part in enumerate(parts)
    )


@documents.after_app_request
def open_client_files(response: Response) -> Response:
    """Let pages of other origins import the client module, which browsers allow only with these headers."""
    if request.path.startswith(CLIENT_FILES):
        response.headers["Access-Control-Allow-Origin"] = "*"
        response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
        if request.path.endswith(".d.ts"):
            # The system's table of types takes ".ts" for a video.
            response.mimetype = "text/plain"
    return response
