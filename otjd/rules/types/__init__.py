"""One module per meeting type: where it looks, the variables it yields, its default transform."""

from __future__ import annotations
