"""Job: small JSON files beside config.ini: replaced in one go, and read back without trust.

Thread: any; each file is written by one. Lock: none. Units: none. A disk that does not work stops nothing.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


def write_json(path: Path, content: Mapping[str, Any]) -> bool:
    """Replace a small file in one go. False: the disk does not work, which is no reason to stop."""
    temporary = path.with_suffix(path.suffix + ".tmp")
    try:
        temporary.write_text(json.dumps(content))
        temporary.replace(path)
    except OSError as error:
        log.debug("%s cannot be written: %s", path.name, error)
        return False
    return True


def read_kept(path: Path) -> dict[str, object]:
    """What write_json() wrote; nothing when there is nothing to trust."""
    try:
        kept = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        log.warning("%s cannot be read and is left aside: %s", path.name, error)
        return {}
    if not isinstance(kept, dict):
        log.warning("%s does not hold what the station keeps and is left aside", path.name)
        return {}
    return kept
