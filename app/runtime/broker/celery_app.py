"""The Celery application of workers and of every process that rings."""

from __future__ import annotations

from celery import Celery

from app.runtime.broker.remote_control import RemoteControl
from app.runtime.broker.transport import use_guarded_transport

use_guarded_transport()
celery_app = Celery("sluice", control=RemoteControl)
celery_app.config_from_object("celeryconfig")
