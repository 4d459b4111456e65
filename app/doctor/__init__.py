"""Looks over an installation and says what is wrong with it, or will be; changes nothing and prints no secret."""

from app.doctor.examination import AREAS, examine
from app.doctor.finding import Finding, Level

__all__ = ["AREAS", "Finding", "Level", "examine"]
