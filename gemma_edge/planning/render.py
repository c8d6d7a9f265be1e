"""A plan in words: where it runs, in one line before an answer and in a few on the plan's page."""

from gemma_edge.hardware.machine import Hardware
from gemma_edge.planning.plan import RAM, Account, Candidate, Placement, Plan, Speed
from gemma_edge.units import GIB, KIB

WHOLE_SPEED = 10  # tok/s; below it a decimal matters


def render_first_line(plan: Plan, candidate: Candidate, hardware: Hardware) -> str:
    """``E4B Q4 QAT on RTX 4060 Laptop: 42/42 layers, 32k context, 4.1 of 7.6 GiB``."""
    parts = []
    if not plan.devices:
        where = f"the CPU, {plan.threads} thread{'' if plan.threads == 1 else 's'}"
    else:
        where = render_devices(plan, hardware)
        parts.append(f"{gpu_layers(plan, candidate)}/{candidate.layers} layers")
        if plan.cpu_expert_layers:
            parts.append(f"experts of {plan.cpu_expert_layers} on the CPU")
    parts += [f"LoRA {each.path.name} at {each.scale:g}" for each in plan.adapters]
    parts.append(render_context(plan))
    if plan.ledger is not None:
        used = [each for each in plan.ledger.accounts if each.place in plan.devices]
        parts.append(render_accounts(used or [plan.ledger.account(RAM)]))
    return f"{brief_title(candidate)} on {where}: {', '.join(parts)}"


def render_context(placement: Placement) -> str:
    """``32k context``, ``32k context for 8 at once``."""
    shared = f" for {placement.sequences} at once" if placement.sequences > 1 else ""
    return f"{short_tokens(placement.context_tokens)} context{shared}"


def render_place(plan: Plan, candidate: Candidate) -> str:
    """``42 of 42 layers on the GPU``, ``30 of 30 layers on the GPU, the experts of 24 on the
    CPU``."""
    layers = candidate.layers
    if plan.kind(layers) == "cpu":
        return "all on the CPU"
    gpu = "GPU" if len(plan.devices) == 1 else f"{len(plan.devices)} GPUs"
    said = f"{gpu_layers(plan, candidate)} of {layers} layers on the {gpu}"
    if plan.cpu_expert_layers:
        said += f", the experts of {plan.cpu_expert_layers} on the CPU"
    return said


def render_short_place(plan: Plan, candidate: Candidate) -> str:
    """``all on the GPU``, ``24 of 30 expert layers on the CPU``, ``all on the CPU``."""
    said = render_kind(plan, candidate.layers)
    return "all on the CPU" if said == "on the CPU" else said


def render_kind(placement: Placement, layers: int) -> str:
    """``all on the GPU``, ``24 of 30 expert layers on the CPU``, ``20 of 42 layers on the GPU``,
    ``on the CPU``, of a model of so many layers."""
    kind, many = placement.kind(layers), len(placement.devices)
    if kind == "experts":
        return f"{placement.cpu_expert_layers} of {layers} expert layers on the CPU"
    if kind == "partial":
        return f"{placement.gpu_layers} of {layers} layers on the GPU"
    if kind == "cpu":
        return "on the CPU"
    return "all on the GPU" if many == 1 else f"all on {many} GPUs"


def render_details(plan: Plan) -> str:
    parts = [render_context(plan), f"{plan.kv_type} KV"]
    place = "" if plan.projector_device or not plan.devices else " (seen by the CPU)"
    images = f"images at {plan.image_tokens} tokens{place}" if plan.image_tokens else "no images"
    return ", ".join([*parts, images])


def render_speed(speed: Speed | None) -> str:
    """``~60 tok/s``, ``58 tok/s`` where it was measured, "" where nobody knows."""
    if speed is None:
        return ""
    rate = speed.tokens_per_second
    return f"{'' if speed.measured else '~'}{rate:.{0 if rate >= WHOLE_SPEED else 1}f} tok/s"


def render_devices(plan: Plan, hardware: Hardware) -> str:
    titles = {device.name: device.title for device in hardware.devices}
    return " + ".join(titles.get(name, name) for name in plan.devices) or "the CPU"


def render_accounts(accounts: list[Account]) -> str:
    """``4.1 of 7.6 GiB``; ``9.8 of 11.6 + 4.0 of 7.6 GiB``."""
    sums = []
    for account in accounts:
        free = account.budget_bytes
        taken = f"{account.taken_bytes / GIB:.1f}"
        sums.append(taken if free is None else f"{taken} of {free / GIB:.1f}")
    return f"{' + '.join(sums)} GiB"


def brief_title(candidate: Candidate) -> str:
    """``E4B Q4 QAT``; the bundled model says what it is good for."""
    if candidate.files is not None and candidate.files.bundled:
        return f"{candidate.title} ({candidate.files.good_for})"
    return short_title(candidate).replace(",", "") if candidate.size_name else candidate.title


def short_title(candidate: Candidate) -> str:
    """``E4B, Q4 QAT`` of ``E4B, Q4 QAT (unsloth)``."""
    return candidate.title.partition(" (")[0] if candidate.size_name else candidate.title


def gpu_layers(plan: Plan, candidate: Candidate) -> int:
    """As ``--gpu-layers`` counts: the output is one of them, and does not make them more than there
    are."""
    return min(plan.placed_layers(candidate.layers), candidate.layers)


def short_tokens(count_tokens: int) -> str:
    """``131072`` -> ``128k``, ``5000`` -> ``5,000``."""
    return f"{count_tokens // KIB}k" if count_tokens % KIB == 0 else f"{count_tokens:,}"
