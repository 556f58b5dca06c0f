"""spyne 2.14.0 on current Pythons; to be imported before anything of spyne is.

Its copy of six finds modules in a way that Python 3.12 dropped, and it imports `cgi`, which Python 3.13 dropped
and which only its own HTTP servers use.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType
from typing import Any


class _Moves:
    """Finds and loads `spyne.util.six.moves` and what is below it, as the copy of six would."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:  # noqa: ARG004
        loader: Any = _Moves
        return spec_from_loader(name, loader) if name.startswith("spyne.util.six.moves") else None

    @staticmethod
    def create_module(spec: ModuleSpec) -> ModuleType:
        return sys.modules["spyne.util.six"]._importer.load_module(spec.name)  # type: ignore[no-any-return]

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        """Nothing: it is whole already."""


sys.meta_path.append(_Moves)
if sys.version_info >= (3, 13):
    _cgi = sys.modules.get("cgi")
    sys.modules["cgi"] = _cgi or ModuleType("cgi")
    import spyne.protocol.soap  # noqa: F401
    if _cgi is None:
        del sys.modules["cgi"]  # for others it stays missing
