"""Job: the module makes that config.ini may name. A make more is a file and a row here.

Thread: any (frozen). Lock: none. Units: see each make.
"""

from __future__ import annotations

from collections.abc import Mapping

from protocols.base import Make
from protocols.infypower import INFYPOWER
from protocols.maxwell_mxr import MAXWELL_MXR, WINLINE
from protocols.tonhe import TONHE
from protocols.uugreen import MAXWELL_ENR, UUGREEN

#: The value of `protocol` in [CAN] and of `moduleN_protocol` in [Modules] -> the make.
PROTOCOLS: Mapping[str, Make] = {
    make.name: make for make in (UUGREEN, MAXWELL_ENR, INFYPOWER, MAXWELL_MXR, WINLINE, TONHE)
}
