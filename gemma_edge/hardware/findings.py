"""What a person should know about the machine, and the way out as a command. Pure."""

from collections.abc import Callable, Iterator

from gemma_edge.hardware import findings_machine as machine
from gemma_edge.hardware import findings_software as software
from gemma_edge.hardware.facts import Facts
from gemma_edge.hardware.machine import Finding

# In the order in which they should be read.
_LOOKS: tuple[Callable[[Facts], Iterator[Finding]], ...] = (
    machine.look_at_cluster,
    software.look_at_libraries,
    software.look_at_driver,
    software.look_at_idle_nvidia,
    software.look_at_idle_others,
    software.look_at_processor,
    machine.look_at_devices,
    machine.look_at_windows,
    machine.look_at_memory,
)


def find(facts: Facts) -> tuple[Finding, ...]:
    """Everything, in the order in which it should be read."""
    return tuple(finding for look in _LOOKS for finding in look(facts))
