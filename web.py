"""The WSGI entry: `gunicorn web:app`, as `app/local/processes.py` has it."""

from app.web.application import create_app

app = create_app()
