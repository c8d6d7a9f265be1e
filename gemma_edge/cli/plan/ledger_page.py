"""A plan's ledger as people read it: a bar for each memory, and a table of MiB."""

from gemma_edge.cli.plan.words import taken_bytes
from collections.abc import Sequence
from typing import get_args

from gemma_edge.fit.ledger import Account, Ledger, Part, PartName
from gemma_edge.units import GIB, MIB

PARTS: tuple[PartName, ...] = get_args(PartName)
BAR_COLUMNS = 40  # at most; a wider one says nothing more
FREE = "·"
# Darkest what is always there, lightest what is only kept free.
SHADES: dict[PartName, str] = {"weights": "█", "KV global": "▓", "KV window": "▓", "margin": "░"}
OTHER_SHADE = "▒"


def render_bars(ledger: Ledger, width: int) -> list[str]:
    """One line an account: ``GPU  ████▓▓▒░··  5.9 of 7.6 GiB``, in ``width`` columns."""
    names = place_names(ledger)
    sums = [render_sum(account) for account in ledger.accounts]
    left = max(map(len, names))
    columns = min(BAR_COLUMNS, width - left - max(map(len, sums)) - 7)
    return [
        f"  {name:{left}}  {render_bar(account, columns)}  {said}".rstrip()
        for name, account, said in zip(names, ledger.accounts, sums, strict=True)
    ]


def render_bar(account: Account, columns: int) -> str:
    """Each part as long as it is large; what takes anything has a cell, while there are any."""
    whole = max(account.budget_bytes or 0, account.total_bytes, 1)
    cells, taken = "", 0
    for shade, size_bytes in _shaded(account.parts):
        taken += size_bytes
        upto = max(round(columns * taken / whole), len(cells) + (size_bytes > 0))
        cells += shade * (min(upto, columns) - len(cells))
    return cells + FREE * (columns - len(cells))


def render_sum(account: Account) -> str:
    """``5.9 of 7.6 GiB``, without the margin, which is only kept free."""
    taken = f"{taken_bytes(account) / GIB:.1f}"
    if account.budget_bytes is None:
        return f"{taken} GiB"
    return f"{taken} of {account.budget_bytes / GIB:.1f} GiB"




def render_table(ledger: Ledger, *, notes: bool = False) -> list[tuple[str, ...]]:
    """Rows of a part's name and its MiB in each account; ``~`` marks an estimate. The last rows are
    the sum, what is kept free beside it, and what is free now. With ``notes`` a last column says
    where a number comes from."""
    accounts = ledger.accounts
    found = {part.name for account in accounts for part in account.parts if part.size_bytes}
    rows = [("  MiB", *(f"{name:>7}" for name in place_names(ledger)), "")]
    rows += [_row(name, accounts) for name in PARTS if name in found and name != "margin"]
    rows.append(_sums("in all", [taken_bytes(account) for account in accounts]))
    rows.append(_row("margin", accounts))
    rows.append(_sums("free now", [account.budget_bytes for account in accounts]))
    return rows if notes else [row[:-1] for row in rows]


def render_remarks(ledger: Ledger) -> list[str]:
    """What the table cannot say: estimates, and pages of a file, which need not stay."""
    parts = [part for account in ledger.accounts for part in account.parts]
    pages = sum(part.size_bytes for part in parts if part.reclaimable)
    remarks = []
    if pages:
        remarks.append(f"of RAM {_mib(pages)} MiB are pages of a file, read as needed")
    if not all(part.exact for part in parts):
        remarks.append("~ an estimate; --explain says where it comes from")
    return remarks


def place_names(ledger: Ledger) -> list[str]:
    """``GPU`` and ``RAM``; ggml's own names where there are several GPUs."""
    places = [account.place for account in ledger.accounts]
    gpus = [place for place in places if place != "RAM"]
    return ["GPU" if len(gpus) == 1 and place in gpus else place for place in places]


def _shaded(parts: Sequence[Part]) -> list[tuple[str, int]]:
    """Bytes by shade, the darkest first, the margin last."""
    sizes = {shade: 0 for shade in ("█", "▓", OTHER_SHADE, "░")}
    for part in parts:
        sizes[SHADES.get(part.name, OTHER_SHADE)] += part.size_bytes
    return list(sizes.items())


def _row(name: PartName, accounts: Sequence[Account]) -> tuple[str, ...]:
    cells: list[str] = []
    notes: dict[str, None] = {}
    for account in accounts:
        parts = [part for part in account.parts if part.name == name and part.size_bytes]
        size = sum(part.size_bytes for part in parts)
        sign = "" if all(part.exact for part in parts) else "~"
        cells.append(f"{sign + _mib(size) if parts else '':>7}")
        for part in parts:
            notes |= dict.fromkeys(filter(None, [part.note]))
    return (f"  {name}", *cells, "; ".join(notes))


def _sums(title: str, sizes: Sequence[int | None]) -> tuple[str, ...]:
    return (f"  {title}", *(f"{'?' if size is None else _mib(size):>7}" for size in sizes), "")


def _mib(size_bytes: int) -> str:
    """Rounded up: what is there takes something."""
    return f"{-(-size_bytes // MIB):,}"
