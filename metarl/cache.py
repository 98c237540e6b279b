"""Cache of results that cost much and depend on their settings only, addressed by these settings."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from metarl.files import write_atomically
from metarl.versions import versions

_FOLDER = "METARL_CACHE"


def cache_folder() -> Path:
    """Returns the folder of the cache: `$METARL_CACHE`, else `metarl` in the user's folder for caches."""
    named = os.environ.get(_FOLDER)
    return Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "metarl"


def relevant_versions() -> dict[str, str]:
    """Returns versions of the packages that decide what is simulated and learned; metarl's own is among them."""
    return {name: version for name, version in versions().items() if name not in ("python", "platform", "commit")}


class Cached:
    """Entry of the cache for a result with these settings.

    Args:
        key: Everything that the result depends on, as JSON types.

    Attributes:
        path: File of the entry.
    """

    def __init__(self, key: Mapping[str, Any]) -> None:
        self._key = json.loads(json.dumps(key))
        digest = sha256(json.dumps(self._key, sort_keys=True).encode()).hexdigest()
        self.path = cache_folder() / f"{digest[:32]}.json"

    def read(self) -> Any:
        """Returns the result as JSON types; None if there is none, or its file is damaged or of other settings."""
        try:
            entry = json.loads(self.path.read_bytes())
        except (OSError, ValueError, RecursionError):
            return None
        return entry.get("result") if isinstance(entry, dict) and entry.get("key") == self._key else None

    def write(self, result: Any) -> None:
        """Keeps a result, of JSON types; says on stderr if it cannot be kept, which costs no more than the time."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path, json.dumps({"key": self._key, "result": result}).encode())
        except OSError as error:
            print(f"metarl: not kept in the cache: {self.path}: {error.strerror or error}", file=sys.stderr)
