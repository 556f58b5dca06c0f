"""What Poly endpoints connect to: an emulated Exchange."""

from __future__ import annotations
