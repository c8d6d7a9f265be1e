"""Ask the machine: what it has, and what we may use of it."""

from gemma_edge.hardware.cpu import Cpu, detect_cpu

__all__ = ["Cpu", "detect_cpu"]
