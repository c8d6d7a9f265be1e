"""The ledger: every part of memory that a plan takes, device by device. Plain data."""

from dataclasses import dataclass
from typing import Literal


# In the order in which they are shown.
PartName = Literal[
    "weights", "adapters", "KV global", "KV window", "compute", "projector", "projector compute",
    "expert copy", "KV scratch", "output", "runtime", "margin",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part. ``exact``: llama.cpp allocates just this; otherwise ``note`` says where the
    estimate comes from. ``reclaimable``: pages of a file, which the system may drop and read
    again. ``runtime`` is what is taken beside llama.cpp's buffers: a CUDA context, the program."""

    name: PartName
    size_bytes: int
    exact: bool = True
    reclaimable: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One memory: a device by ggml's name ("CUDA0"), or "RAM". ``budget_bytes`` is what is free
    in it now; None where nobody says."""

    place: str
    title: str
    budget_bytes: int | None
    parts: tuple[Part, ...]

    @property
    def total_bytes(self) -> int:
        """All parts, the margin included."""
        return sum(part.size_bytes for part in self.parts)

    @property
    def fits(self) -> bool:
        """Whether all of it is within the budget."""
        return self.budget_bytes is None or self.total_bytes <= self.budget_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """One account a device that is used, in the plan's order, then RAM."""

    accounts: tuple[Account, ...]

    @property
    def fits(self) -> bool:
        """Whether every account is within its budget."""
        return all(account.fits for account in self.accounts)

    def account(self, place: str) -> Account:
        """The account of one memory; KeyError where the plan does not use it."""
        for account in self.accounts:
            if account.place == place:
                return account
        raise KeyError(place)


@dataclass(frozen=True, slots=True)
class Allocated:
    """One buffer. ``place`` is a device by ggml's name, or "RAM"; ``reclaimable``: pages of the
    model's file. Rounded by llama.cpp to 0.01 MiB."""

    place: str
    part: PartName
    size_bytes: int
    reclaimable: bool = False
