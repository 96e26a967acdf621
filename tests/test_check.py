"""Job: `python main.py --check`: what it says of pins that a kernel driver holds, and of a desk of another size.

Thread: the test's. Lock: none. Units: none.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import main
from commissioning.check import pins_held
from planning.settings import Gpio

#: As kernels before 6.6 number the board's pins, and as those after it do.
HEADS = {
    0: "gpiochip0: GPIOs 0-53, parent: platform/3f200000.gpio, pinctrl-bcm2835:\n",
    512: "gpiochip0: GPIOs 512-565, parent: platform/fe200000.gpio, pinctrl-bcm2711:\n",
}


@pytest.mark.parametrize("base", HEADS)
def test_a_pin_that_a_kernel_driver_holds_is_named(base: int) -> None:
    lines = [
        f" gpio-{base + 2:<3} (GPIO2               |                    ) in  hi \n",
        f" gpio-{base + 17:<3} (GPIO17              |spi0 CS1            ) out hi \n",
        f" gpio-{base + 25:<3} (GPIO25              |interrupt           ) in  hi IRQ\n",
        "\ngpiochip1: GPIOs 504-511, parent: platform/soc:firmware:gpio, raspberrypi-exp-gpio, can sleep:\n",
        " gpio-506 (BT_ON               |shutdown            ) out hi \n",
    ]
    (said,) = pins_held(Gpio(), HEADS[base] + "".join(lines))
    assert said.startswith("[GPIO] data_pin = 17: the kernel driver 'spi0 CS1' holds this pin. ")
    direct = Gpio(direct_pins={(1, 1): 25}, direct_feedback_pins={(1, 1): 2})
    assert [each.split(":")[0] for each in pins_held(direct, HEADS[base] + "".join(lines))] == [
        "[GPIO] data_pin = 17", "[GPIO] gun1_module1_pin = 25",
    ]  # fmt: skip


def test_a_desk_of_another_size_is_named_before_it_is_started(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.ini"
    config.write_text("[General]\nmodule_count = 8\n")
    assert main.main(["--check", "--simulate", "--config", str(config)]) == 2
    assert "its cabinet is wired for gun_count = 6 and module_count = 9" in capsys.readouterr().out
