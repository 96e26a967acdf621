"""Job: `python -m simulator --serve DIR`: read the command line, run the plant.

Thread: MainThread. Lock: none. Units: V.
"""

from __future__ import annotations

import argparse
import configparser
import logging
import sys
from pathlib import Path

from simulator.module_wire import DIALECTS
from simulator.serve import PlantProcess, ServeOptions


def main() -> int:
    """Exit code 0: stopped as asked; 2: it could not start."""
    arguments = _parser().parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s [%(levelname)s] %(message)s", datefmt="%H:%M:%S")
    options = ServeOptions(
        folder=arguments.serve,
        battery_v=arguments.battery_voltage,
        cars=arguments.cars,
        seed=arguments.seed,
        protocol=arguments.protocol,
        can_port=arguments.can_port,
        broker=arguments.broker,
        frame_log=arguments.frame_log,
        event_log=arguments.event_log,
    )
    try:
        process = PlantProcess(options)
    except (OSError, RuntimeError, ValueError, configparser.Error) as error:
        print(f"The simulated station cannot start: {error}", file=sys.stderr)
        return 2
    process.run()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m simulator", description="The station on a desk, as a process")
    parser.add_argument(
        "--serve", type=Path, metavar="DIR", required=True, help="folder for its files; made if missing"
    )
    parser.add_argument("--battery-voltage", type=float, default=640.0, metavar="V", help="of every gun (default 640)")
    parser.add_argument("--cars", type=int, default=0, metavar="N", help="let N cars come and go instead")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="fixes tolerances and arrivals (default 1)")
    parser.add_argument("--protocol", choices=sorted(DIALECTS), help="make of the modules (default: as in DIR)")
    parser.add_argument("--can-port", type=int, default=0, metavar="P", help="TCP port of the CAN bus")
    parser.add_argument("--broker", type=_address, metavar="HOST:PORT", help="MQTT broker (default: one of its own)")
    parser.add_argument("--frame-log", type=Path, metavar="FILE", help="write every CAN frame there, with its time")
    parser.add_argument("--event-log", type=Path, metavar="FILE", help="write every event of the plant there")
    return parser


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise argparse.ArgumentTypeError(f"'{text}' is not HOST:PORT")
    return host, int(port)


if __name__ == "__main__":
    raise SystemExit(main())
