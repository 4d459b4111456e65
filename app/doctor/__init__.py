"""Checks an installation and reports present and coming problems; changes nothing and prints no secret."""

from app.doctor.examination import AREAS, examine
from app.doctor.finding import Finding, Level

__all__ = ["AREAS", "Finding", "Level", "examine"]
