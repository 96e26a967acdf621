"""The simulated chips against their data sheets, and both drivers against one contract."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from cabinet import WITH_READBACK, Cabinet, direct_pins

from contactor_controller import DirectDriver, PinDriver, ShiftRegisterDriver
from planning.contacts import Matrix
from planning.settings import Gpio
from simulator.chips import CHAIN_MASK, InputChain, OutputChain
from simulator.gpio_face import FarEnd, SimulatedGpio

PINS = Gpio()
IMAGE = 0x00A5_C3F0_1234_5678 & CHAIN_MASK


def pulse(drive: Callable[[int], None]) -> None:
    drive(1)
    drive(0)


def shift_in(chain: OutputChain, image: int) -> None:
    for index in range(55, -1, -1):
        chain.data(image >> index & 1)
        pulse(chain.clock)


def shift_out(chain: InputChain, bits: int = 64) -> int:
    chain.load(0)
    chain.load(1)
    image = 0
    for index in range(bits):
        image |= chain.data() << index
        pulse(chain.clock)
    return image


def test_output_chain_powers_up_random_and_disabled() -> None:
    latched = {OutputChain(seed).latched for seed in range(20)}
    assert len(latched) == 20
    assert all(OutputChain(seed).coils == 0 for seed in range(20))


def test_last_bit_shifted_in_is_index_0_and_only_the_latch_moves_outputs() -> None:
    chain = OutputChain(seed=3)
    chain.output_enable(0)
    power_up = chain.coils
    shift_in(chain, IMAGE)
    assert chain.coils == power_up
    pulse(chain.latch)
    assert chain.coils == IMAGE


def test_clock_and_latch_act_on_rising_edges_only() -> None:
    chain = OutputChain(seed=3)
    shift_in(chain, 0)
    chain.data(1)
    chain.clock(1)
    chain.clock(1)  # still high: no edge
    chain.latch(1)
    assert chain.latched == 1
    chain.clock(0)
    pulse(chain.clock)
    chain.latch(1)  # still high: no edge
    assert chain.latched == 1
    chain.latch(0)
    assert chain.latched == 1
    chain.latch(1)
    assert chain.latched == 3


def test_output_enable_is_active_low_and_keeps_the_latch() -> None:
    chain = OutputChain(seed=3)
    shift_in(chain, IMAGE)
    pulse(chain.latch)
    for level, coils in ((1, 0), (0, IMAGE), (1, 0)):
        chain.output_enable(level)
        assert (chain.coils, chain.latched) == (coils, IMAGE)


def test_serial_output_shows_the_image_before_from_the_far_end() -> None:
    chain = OutputChain(seed=3)
    shift_in(chain, IMAGE)
    pulse(chain.latch)
    shown = 0
    for _ in range(56):
        shown = shown << 1 | chain.serial_output()
        pulse(chain.clock)
    assert shown == IMAGE


def test_input_chain_shows_index_0_first_then_test_bits_then_ones() -> None:
    inputs = IMAGE & (1 << 54) - 1
    image = shift_out(InputChain(lambda: inputs), bits=70)
    assert image & (1 << 54) - 1 == inputs
    assert image >> 54 == 0b1111_1111_1111_1101  # 54 high, 55 low, the tied serial input ever after


def test_load_low_is_transparent_and_high_holds() -> None:
    level = [0]
    chain = InputChain(lambda: level[0])
    chain.load(0)
    assert chain.data() == 0
    level[0] = 1
    assert chain.data() == 1
    pulse(chain.clock)  # does nothing while load is low
    chain.load(1)
    level[0] = 0
    assert chain.data() == 1
    chain.clock(1)
    chain.clock(1)  # still high: no edge
    assert chain.data() == 0


@pytest.mark.parametrize("edges", [-2, -1, 1, 2])
def test_stray_clock_edges_displace_both_chains(edges: int) -> None:
    inputs, outputs = InputChain(lambda: 0), OutputChain(seed=3)
    inputs.edges_gained = outputs.edges_gained = edges
    assert shift_out(inputs) >> 54 & 0b11 != 0b01
    shift_in(outputs, IMAGE)
    pulse(outputs.latch)
    assert outputs.latched != IMAGE


def test_output_faults() -> None:
    chain = OutputChain(seed=3)
    shift_in(chain, 0b0110)
    pulse(chain.latch)
    chain.stuck_on, chain.stuck_off, chain.flipped = 0b1000, 0b0010, 0b0001
    chain.output_enable(0)
    assert chain.coils == 0b1101
    assert chain.latched == 0b0110


# --- the library's API ----------------------------------------------------------------------------------------------


def test_wrong_use_raises_like_the_real_library() -> None:
    gpio = SimulatedGpio(PINS, lambda: 0.0)
    with pytest.raises(RuntimeError, match="setmode"):
        gpio.setup(17, gpio.OUT)
    with pytest.raises(ValueError, match="BCM"):
        gpio.setmode(gpio.BOARD)
    gpio.setmode(gpio.BCM)
    with pytest.raises(ValueError, match="0-27"):
        gpio.setup(28, gpio.OUT)
    with pytest.raises(RuntimeError, match="output"):
        gpio.output(17, 1)
    with pytest.raises(RuntimeError, match="input"):
        gpio.input(5)
    with pytest.raises(RuntimeError, match="input"):
        gpio.add_event_detect(16, gpio.FALLING)
    gpio.setup(5, gpio.IN)
    with pytest.raises(RuntimeError, match="output"):
        gpio.output(5, 1)


def test_several_pins_at_once() -> None:
    gpio = SimulatedGpio(PINS, lambda: 0.0)
    gpio.setmode(gpio.BCM)
    gpio.setup([6, 26], gpio.OUT, initial=gpio.HIGH)
    gpio.output([6, 26], [0, 0])
    assert (gpio.output_enabled, gpio.heartbeat_edges) == (True, 2)
    with pytest.raises(RuntimeError, match="levels"):
        gpio.output([6, 26], [0])


def test_output_enable_set_up_without_a_level_switches_random_coils_on() -> None:
    gpio = SimulatedGpio(PINS, lambda: 0.0, seed=5)
    gpio.setmode(gpio.BCM)
    gpio.setup(PINS.output_enable_pin, gpio.OUT)
    assert gpio.coils == gpio.coil_image_latched != 0


def test_cleanup_lets_the_pull_up_disable_the_outputs() -> None:
    gpio = SimulatedGpio(PINS, lambda: 0.0, seed=5)
    gpio.setmode(gpio.BCM)
    gpio.setup(PINS.output_enable_pin, gpio.OUT, initial=gpio.LOW)
    gpio.cleanup()
    assert not gpio.output_enabled
    with pytest.raises(RuntimeError):
        gpio.output(PINS.output_enable_pin, 0)


def test_emergency_stop_edge_comes_once_and_heartbeat_is_stamped() -> None:
    now_s, edges = [7.0], list[int]()
    gpio = SimulatedGpio(PINS, lambda: now_s[0])
    gpio.setmode(gpio.BCM)
    gpio.setup(16, gpio.IN, pull_up_down=gpio.PUD_DOWN)
    gpio.add_event_detect(16, gpio.FALLING, callback=edges.append)
    gpio.emergency_stop_healthy = False
    gpio.emergency_stop_healthy = True
    assert edges == [16]
    gpio.setup(26, gpio.OUT, initial=gpio.LOW)
    assert gpio.last_heartbeat_edge_s is None
    now_s[0] = 8.0
    gpio.output(26, 1)
    gpio.output(26, 1)
    assert (gpio.heartbeat_edges, gpio.last_heartbeat_edge_s) == (1, 8.0)


def test_simulated_gpio_is_a_far_end() -> None:
    far_end: FarEnd = SimulatedGpio(PINS, lambda: 0.0)
    assert not far_end.output_enabled


# --- one contract, two wirings ----------------------------------------------------------------------------------------


def make_driver(kind: str) -> tuple[SimulatedGpio, PinDriver, int]:
    matrix = Matrix(2, 2) if kind == "direct" else Matrix(6, 9)
    pins = {"direct": direct_pins(), "chain": Gpio(), "readback": WITH_READBACK}[kind]
    modules = 2 if kind == "direct" else 9
    gpio = SimulatedGpio(pins, lambda: 0.0, gun_count=len(matrix.gun_masks) - 1, module_count=modules, seed=9)
    count = len(matrix.crosspoints)
    driver: PinDriver = (
        DirectDriver(gpio, pins, matrix.crosspoints) if kind == "direct" else ShiftRegisterDriver(gpio, pins, count)
    )
    driver.set_up()
    return gpio, driver, (1 << count) - 1


@pytest.fixture(params=["direct", "chain", "readback"])
def wiring(request: pytest.FixtureRequest) -> tuple[SimulatedGpio, PinDriver, int]:
    return make_driver(request.param)


Wiring = tuple[SimulatedGpio, PinDriver, int]


def test_contract_images_arrive_bit_by_bit(wiring: Wiring) -> None:
    gpio, driver, mask = wiring
    assert gpio.coils == 0
    rng = random.Random(4)
    driver.write_image(0)
    driver.enable_outputs(True)
    for image in [1 << index for index in range(mask.bit_length())] + [rng.getrandbits(54) & mask for _ in range(20)]:
        assert driver.write_image(image)
        assert gpio.coils == image


def test_contract_feedback_is_what_the_contacts_show(wiring: Wiring) -> None:
    gpio, driver, mask = wiring
    rng = random.Random(4)
    for image in [0, mask, *(rng.getrandbits(54) & mask for _ in range(20))]:
        gpio.feedback_inputs = image
        assert driver.read_feedback() == image


def test_contract_enable_heartbeat_and_stop(wiring: Wiring) -> None:
    gpio, driver, mask = wiring
    driver.write_image(mask)
    assert not gpio.output_enabled
    driver.enable_outputs(True)
    assert gpio.coils == mask
    for edge in range(1, 5):
        driver.heartbeat_edge()
        assert gpio.heartbeat_edges == edge
    assert driver.emergency_stop_healthy()
    gpio.emergency_stop_healthy = False
    assert not driver.emergency_stop_healthy()
    driver.tear_down()
    assert gpio.coils == 0


def test_whole_cabinet_with_direct_wiring() -> None:
    cabinet = Cabinet(direct_pins(), guns=2, modules=2).start()
    assert cabinet.close(1, 1) is None
    cabinet.run(0.2)
    assert cabinet.gpio.coils == 1
    cabinet.contactors.shut_down(cabinet.now_s)
    assert cabinet.gpio.coils == 0
