"""All checks in the order in which they are shown, with the machine's findings in their places."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from gemma_edge.doctor.check import Check, State
from gemma_edge.doctor.facts import Facts
from gemma_edge.doctor.machine import (
    check_build,
    check_decodes,
    check_driver,
    check_gpus,
    check_memory,
    check_processor,
)
from gemma_edge.doctor.surroundings import (
    check_cluster,
    check_disk,
    check_hub,
    check_models,
    check_offline,
    check_python,
    check_terminal,
)
from gemma_edge.hardware.machine import Finding

CHECKS: tuple[Callable[[Facts], list[Check]], ...] = (
    check_python, check_build, check_processor, check_driver, check_gpus, check_memory,
    check_cluster, check_decodes, check_disk, check_models, check_offline, check_hub,
    check_terminal,
)  # fmt: skip
# Findings that are part of what another name says.
_SHOWN_UNDER = {"instructions": "processor", "cgroup": "memory"}
_WORST: tuple[State, ...] = ("fine", "skipped", "warning", "problem")


def examine(facts: Facts) -> tuple[Check, ...]:
    """Every check, pure over the facts."""
    checks = [check for each in CHECKS for check in each(facts)]
    merged: list[Check] = []
    for finding in facts.hardware.findings:
        _place(finding, checks, merged)
    return tuple(checks)


def count_problems(checks: Sequence[Check]) -> int:
    """How many of them make the exit status 1."""
    return sum(check.state == "problem" for check in checks)


def _place(finding: Finding, checks: list[Check], merged: list[Check]) -> None:
    """What detection found becomes the reason and the fix of the check of its name; of several
    GPUs, of the one that it speaks of. A second one stands behind the first; one that no check has
    stands before the GPUs."""
    name = _SHOWN_UNDER.get(finding.what, finding.what)
    found = Check(name, finding.state, finding.text, fix=finding.fix)
    places = [index for index, check in enumerate(checks) if check.name == name]
    titles = {index: checks[index].seen.partition(",")[0] for index in places}
    meant = [index for index in places if titles[index] in finding.text]
    if not places:
        merged.append(found)
        checks.insert([check.name for check in checks].index("GPU"), found)
    elif checks[index := max(meant, key=lambda i: len(titles[i]), default=places[0])] in merged:
        checks.insert(places[-1] + 1, found)
    else:
        checks[index] = _merge(checks[index], finding)
        merged.append(checks[index])


def _merge(check: Check, finding: Finding) -> Check:
    """A check that is in trouble already has said why."""
    in_trouble = check.state in ("warning", "problem")
    return replace(
        check,
        state=max(check.state, finding.state, key=_WORST.index),
        why=check.why if in_trouble else finding.text,
        fix=check.fix or finding.fix,
    )
