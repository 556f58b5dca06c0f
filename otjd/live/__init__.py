"""`otjd check --live`: contacts everything that the configuration names, and tells how to mend what fails."""

from __future__ import annotations
