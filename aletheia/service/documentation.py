"""The page that the API is read and tried out in; it loads nothing from elsewhere."""

from importlib.util import find_spec
from typing import Final

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

PAGE: Final = "/docs"
_ASSETS: Final = "/docs-assets"
_PACKAGE: Final = "fastapi_offline"
"""Has Swagger UI's files; the extra `ui` brings it."""

_POLICY: Final = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; frame-ancestors 'none'"
)
"""What the page may load; it has a script of a few lines in itself."""


def add_documentation(app: FastAPI) -> None:
    """Add the page, where what it shows itself with is installed."""
    if find_spec(_PACKAGE) is None:
        return
    app.mount(_ASSETS, StaticFiles(packages=[(_PACKAGE, "static")]))
    title = f"{app.title} {app.version}"

    async def show(_: Request) -> HTMLResponse:
        # The addresses are relative: a proxy may serve the whole below a path of its own.
        page = get_swagger_ui_html(
            openapi_url="openapi.json",
            title=title,
            swagger_js_url=f"{_ASSETS[1:]}/swagger-ui-bundle.js",
            swagger_css_url=f"{_ASSETS[1:]}/swagger-ui.css",
            swagger_favicon_url=f"{_ASSETS[1:]}/favicon.png",
            oauth2_redirect_url=None,
        )
        page.headers["Content-Security-Policy"] = _POLICY
        return page

    app.add_route(PAGE, show, include_in_schema=False)
