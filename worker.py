"""The Celery entry: `celery -A worker worker`, `beat` and `flower`."""

from app.runtime.broker.celery_app import celery_app as app
from tasks.worker_process import prepare_process

prepare_process(app)

__all__ = ["app"]
