"""Check an installation and report present and coming problems; change nothing and print no secret."""

from app.doctor.examination import AREAS, examine
from app.doctor.finding import Finding, Level

__all__ = ["AREAS", "Finding", "Level", "examine"]
