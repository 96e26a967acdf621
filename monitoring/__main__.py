"""Job: start the page process. The control process does it (monitoring/onlook.py); nobody else needs to.

Thread: MainThread. Lock: none. Units: none. stdin: lines of monitoring/schema.py, the first a Setup; stdout: Act and
Serving. The control path has the processor first (nice 10), and when memory is short this process goes first.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path

NICE = 10
#: -1000 never, 1000 always: the kernel ends us before anything of the station.
OUT_OF_MEMORY_FIRST = "800"


def _be_modest() -> None:
    with contextlib.suppress(OSError, PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, NICE)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(OUT_OF_MEMORY_FIRST)


def main() -> int:
    """Returns the exit code."""
    _be_modest()
    try:
        from monitoring import serve
    except ImportError as error:
        cannot = f"a package is missing ({error}): type make .venv"
        os.write(1, json.dumps({"cannot": cannot}).encode() + b"\n")
        return 2
    words = os.dup(1)
    os.dup2(2, 1)  # what anybody prints is a complaint and no word to the station
    return serve.run(0, words)


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # history and sockets are closed; taking the interpreter apart would only take time
