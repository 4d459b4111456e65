"""The WSGI entry: `granian --interface wsgi web:app`."""

from app.api import create_app

app = create_app()
