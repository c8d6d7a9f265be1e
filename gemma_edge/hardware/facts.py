"""What the findings look at: the recording, and what was made of it. Pure."""

from dataclasses import dataclass

from gemma_edge.hardware.machine import Device, Hardware
from gemma_edge.hardware.nvidia import ANSWERING, Card, Nvidia
from gemma_edge.hardware.text import Answers
from gemma_edge.hardware.wheels import install_command

_CONTAINERS = {
    "/.dockerenv": "docker",
    "/run/.containerenv": "podman",
    "/.singularity.d": "apptainer",
}


@dataclass(frozen=True, slots=True)
class Facts:
    """One machine. ``cards`` are all cards that anything knows, NVIDIA's first; ``idle`` are those
    that llama.cpp does not see."""

    answers: Answers
    hardware: Hardware
    nvidia: Nvidia
    cards: tuple[Card, ...]
    idle: tuple[Card, ...]

    @property
    def usable(self) -> list[Device]:
        """Devices that llama.cpp can compute on."""
        return [device for device in self.hardware.devices if device.usable]

    @property
    def idle_nvidia(self) -> list[Card]:
        """NVIDIA's cards that answer and that llama.cpp does not see."""
        return [card for card in self.idle if card.source in ANSWERING]

    @property
    def in_container(self) -> str:
        """docker, podman, apptainer, or ""."""
        return next((name for path, name in _CONTAINERS.items() if self.answers.has(path)), "")

    @property
    def job_without_gpu(self) -> bool:
        """A SLURM job that was given no GPU."""
        given = [self.answers.variable(f"SLURM_{n}") for n in ("JOB_GPUS", "STEP_GPUS", "GPUS")]
        return bool(self.answers.variable("SLURM_JOB_ID")) and not any(given)

    @property
    def on_login_node(self) -> bool:
        """SLURM is here, and no job: the GPUs are on other nodes."""
        return self.answers.has("srun") and not self.answers.variable("SLURM_JOB_ID")

    @property
    def shut_out(self) -> bool:
        """A container on a host with an NVIDIA card, started without it."""
        nodes = self.answers.has("/dev/nvidiactl") or self.answers.has("/dev/dxg")
        listed = any(card.vendor == "nvidia" for card in self.cards)
        return bool(self.in_container) and listed and not nodes and not self.nvidia.cards

    @property
    def best_backend(self) -> str:
        """The backend that a new build should have here."""
        vendors = {card.vendor for card in self.cards if not card.integrated}
        if "nvidia" in vendors:
            return "cuda"
        if "amd" in vendors and self.answers.has("/dev/kfd") and self.answers.has("/opt/rocm"):
            return "rocm"
        if vendors:
            return "vulkan"
        on_apple = self.answers.system == "darwin" and self.answers.text("machine") == "arm64"
        return "metal" if on_apple else "cpu"

    def install(self, backend: str = "") -> str:
        """The command that installs a build for ``backend``, or for the best one."""
        return install_command(
            self.answers, backend or self.best_backend, self.nvidia, self.hardware.cpu
        )
