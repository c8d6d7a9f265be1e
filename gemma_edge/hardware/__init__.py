"""Ask the machine: what it has, and what we may use of it."""

from gemma_edge.hardware.cpu import Cpu, detect_cpu
from gemma_edge.hardware.memory import Memory, detect_memory

__all__ = ["Cpu", "Memory", "detect_cpu", "detect_memory"]
