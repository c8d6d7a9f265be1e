"""Doctor: what this machine has, what stands in the way, and the way out as a command.

``gather`` asks, ``examine`` is pure over what came back.
"""

from gemma_edge.doctor.check import Check, State
from gemma_edge.doctor.decode import try_decode
from gemma_edge.doctor.examine import count_problems, examine
from gemma_edge.doctor.facts import Facts, Shelf, Terminal
from gemma_edge.doctor.fixing import parse_fix
from gemma_edge.doctor.gather import Asking, gather
from gemma_edge.doctor.hub import ask_hub

__all__ = [
    "Asking",
    "Check",
    "Facts",
    "Shelf",
    "State",
    "Terminal",
    "ask_hub",
    "count_problems",
    "examine",
    "gather",
    "parse_fix",
    "try_decode",
]
