"""``gemma-edge pull``, ``list``, ``show``, ``path``, ``verify``, ``rm`` and ``import``."""

import math
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

from gemma_edge import catalog, gguf
from gemma_edge.app.models import (
    Target,
    ask_hub_for,
    count_bytes,
    fetch,
    find_missing,
    find_target,
    free_bytes,
    label,
    pull_command,
    read_remote,
    render_count,
    say_missing,
    say_newer,
    select,
)
from gemma_edge.app.runtime import Runtime
from gemma_edge.cli.completion import model_names, stored_names
from gemma_edge.cli.context import Context
from gemma_edge.cli.flags import argument, option
from gemma_edge.cli.options import ShowFlags, StoreFlags
from gemma_edge.cli.output import Output, can_ask, confirm
from gemma_edge.cli.streaming import open_runtime
from gemma_edge.errors import ExitStatus, ModelError, UsageError
from gemma_edge.gguf import Header, Skipped, Value
from gemma_edge.records import dataclass
from gemma_edge.store.files import (
    StoredFile,
    Verification,
    import_file,
    list_files,
    plan_removal,
    remove,
    verify,
)
from gemma_edge.store.lock import LockEntry, Locks
from gemma_edge.store.remote import RemoteFile, StoreSettings
from gemma_edge.units import render_age, render_bytes

# ----------------------------------------------------------------------------
# `gemma-edge pull`: fetch models and what belongs to them; their paths are the data.


@dataclass(frozen=True, slots=True, kw_only=True)
class PullFlags:
    """What is to be fetched; ``accept`` takes what is upstream now, whatever the lock says."""

    names: Annotated[
        tuple[str, ...],
        argument(
            "NAME", "Of `gemma-edge models`, or hf:owner/repo/file.gguf.", complete=model_names
        ),
    ]
    drafter: Annotated[
        bool, option("--drafter", help="The drafter too, which guesses words ahead.")
    ] = False
    accept: Annotated[
        bool, option("--accept-change", help="Take what is on the hub now, and lock that.")
    ] = False


def pull(
    asked: PullFlags, store: StoreFlags, show: ShowFlags, context: Context, output: Output
) -> ExitStatus:
    """Download a model and its projector, checked and resumable. Prints where the files are.

    \b
    gemma-edge pull e4b
    gemma-edge pull 31b-q6 --drafter
    gemma-edge pull hf:owner/repo/file.gguf@revision
    """
    runtime = open_runtime(store, context, output)
    settings = runtime.store
    bundled = [name for name in asked.names if catalog.kind_of(name) == "bundled"]
    names = dict.fromkeys(name for name in asked.names if name not in bundled)
    targets = [find_target(name, settings, newest=asked.accept) for name in names]
    for name in bundled:
        output.note(f"{name} is part of gemma-edge, there is nothing to fetch")
    _announce(targets, asked, runtime)
    files = list(dict.fromkeys(file for target in targets for file in _wanted_files(target, asked)))
    paths = fetch(files, runtime, accept=asked.accept)
    for target in targets if asked.accept else ():
        say_newer(target, runtime)
    rows = [_pulled_row(name, catalog.resolve(name).model, None) for name in bundled]
    for file, path in zip(files, paths, strict=True):
        locked = Locks(settings).find(file.repo, file.filename)
        rows.append(_pulled_row(file.name, path, locked[0] if locked else None))
    return _say_paths(rows, show, output)


def _wanted_files(target: Target, asked: PullFlags) -> list[RemoteFile]:
    drafter = target.drafter if asked.drafter else None
    return [file for file in (target.model, target.projector, drafter) if file is not None]


def _announce(targets: list[Target], asked: PullFlags, runtime: Runtime) -> None:
    """What comes, from where, how much; before the first byte."""
    for target in targets:
        if target.note:
            runtime.note(target.note)
        if asked.drafter and target.drafter is None:
            runtime.note(f"{target.asked}: there is no drafter for it")
        if asked.accept:
            runtime.note(f"{target.asked}: {target.title}, whatever is on the hub now")
            continue
        missing = find_missing(_wanted_files(target, asked), runtime)
        if not missing:
            runtime.note(f"{target.asked}: {target.title}, on this machine")
            say_newer(target, runtime)
        elif not runtime.store.offline:
            say_missing(target, ask_hub_for(target, missing, runtime), runtime)


def _pulled_row(name: str, path: Path, locked: LockEntry | None) -> dict[str, Any]:
    row = {"name": name, "path": str(path), "size_bytes": path.stat().st_size}
    return row | {fact: getattr(locked, fact, None) for fact in ("sha256", "revision")}


def _say_paths(rows: list[dict[str, Any]], show: ShowFlags, output: Output) -> ExitStatus:
    if show.json:
        output.document({"files": rows})
    else:
        for row in rows:
            output.data(row["path"])
    return ExitStatus.OK


# ----------------------------------------------------------------------------
# `gemma-edge list`: which model files are on this machine.


def list_command(
    store: StoreFlags, show: ShowFlags, context: Context, output: Output
) -> ExitStatus:
    """List the model files on this machine: size, last use, name.

    \b
    gemma-edge list
    gemma-edge list --json
    """
    settings = open_runtime(store, context, output).store
    files = list_files(settings)
    if show.json:
        output.document({"files": [as_document(stored) for stored in files]})
        return ExitStatus.OK
    if not files:
        output.note("no model is on this machine yet; gemma-edge models shows what there is")
        return ExitStatus.OK
    now = context.now()
    output.table([(render_bytes(each.size_bytes), render_age(now - each.last_used),
                   label(each) or ("incomplete" if each.where == "incomplete" else ""), each.name)
                  for each in files])  # fmt: skip
    folder = settings.models_dir or settings.cache_dir
    free = free_bytes(folder) if folder else None
    left = f", {render_bytes(free)} free" if free is not None else ""
    output.note(f"{render_count(len(files))}, {render_bytes(count_bytes(files))}{left}")
    return ExitStatus.OK


def as_document(stored: StoredFile) -> dict[str, Any]:
    """A file as plain data."""
    return {
        "name": stored.name,
        "model": label(stored) or None,
        "path": str(stored.path),
        "where": stored.where,
        "revision": stored.commit or None,
        "size_bytes": stored.size_bytes,
        "last_used": stored.last_used,
        "sha256": stored.sha256,
    }


# ----------------------------------------------------------------------------
# `gemma-edge show`: what a model file says about itself, on this machine or on the hub.


TEMPLATE_KEY = "tokenizer.chat_template"
MAX_SHOWN = 72  # characters of one value; --json has all of it


@dataclass(frozen=True, slots=True)
class Shown:
    """A header, where the file is (a path, or a name of the hub), and its hash where known."""

    header: Header
    where: str
    sha256: str | None


def show_command(
    name: Annotated[
        str,
        argument("NAME|PATH", "A model, a file, or hf:owner/repo/file.gguf.", complete=model_names),
    ],
    *,
    store: StoreFlags,
    show: ShowFlags,
    context: Context,
    output: Output,
) -> ExitStatus:
    """Show what a model file says about itself. Of a file on the hub only the header is fetched.

    \b
    gemma-edge show e4b
    gemma-edge show model.gguf --json
    gemma-edge show hf:owner/repo/file.gguf
    """
    shown = _find(name, open_runtime(store, context, output))
    if show.json:
        output.document(_file_document(shown))
        return ExitStatus.OK
    header = shown.header
    output.table(_facts(shown))
    output.data("tensors")
    output.table([(f"  {kind}", str(count), render_bytes(size)) for kind, count, size in
                  tensors_by_type(header)] or [("  none",)])  # fmt: skip
    output.data("metadata")
    output.table(
        [(f"  {_one_line(key)}", render_value(value)) for key, value in header.metadata.items()]
        or [("  none",)]
    )
    return ExitStatus.OK


def tensors_by_type(header: Header) -> list[tuple[str, int, int]]:
    """(type, how many tensors, their bytes), the largest first."""
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for tensor in header.tensors:
        counts[tensor.type] += 1
        sizes[tensor.type] += tensor.size_bytes
    return [(kind, counts[kind], size) for kind, size in sizes.most_common()]


def render_value(value: Value) -> str:
    """On one line, and no longer than a person reads."""
    if isinstance(value, Skipped):
        return f"{value.count:,} values"
    if isinstance(value, tuple):
        return _shortened(_one_line(", ".join(map(str, value))), f"{len(value):,} values")
    if isinstance(value, float):
        return f"{value:.7g}"  # it is of 32 bits in every file seen
    return _shortened(_one_line(str(value)), f"{len(str(value)):,} characters")


def _find(name: str, runtime: Runtime) -> Shown:
    settings = runtime.store
    kind = catalog.kind_of(name)
    if kind == "bundled":
        return _local(catalog.resolve(name).model, settings)
    path, stored = Path(name).expanduser(), list_files(settings)
    if not path.exists() and any(name in (each.file, each.name) for each in stored):
        return _local(select([name], stored, settings)[0].path, settings)
    if kind == "path":
        return _local(path, settings)
    target = find_target(name, settings)
    if target.note:
        runtime.note(target.note)
    if not find_missing([target.model], runtime):
        return _local(fetch([target.model], runtime)[0], settings)
    header, upstream = read_remote(target.model, runtime)
    return Shown(header, f"{target.model.name}@{upstream.commit}", upstream.sha256)


def _local(path: Path, settings: StoreSettings) -> Shown:
    header = gguf.read_header(path)
    absolute = path.absolute()
    for stored in list_files(settings):
        if stored.path == absolute:
            found = Locks(settings).find(stored.repo, stored.file)
            counts = found is not None and stored.commit in ("", found[0].revision)
            locked = found[0].sha256 if found and counts else None
            return Shown(header, str(absolute), locked or stored.sha256)
    return Shown(header, str(absolute), None)


def _facts(shown: Shown) -> list[tuple[str, str]]:
    header = shown.header
    template = header.metadata.get(TEMPLATE_KEY)
    context, layers = header.integer(".context_length"), header.integer(".block_count")
    rows = [
        ("file", shown.where),
        ("size", f"{render_bytes(header.file_bytes)} ({header.file_bytes:,} bytes)"),
        ("sha256", shown.sha256 or "not known"),
        ("architecture", _one_line(header.architecture) or "not said"),
        ("context", f"{context:,} tokens" if context is not None else ""),
        ("layers", str(layers) if layers is not None else ""),
        ("chat template", f"{len(template):,} characters" if isinstance(template, str) else "none"),
    ]
    return [row for row in rows if row[1]]


def _one_line(text: str) -> str:
    return text if text.isprintable() else repr(text)[1:-1]


def _shortened(text: str, extent: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 20]}… ({extent})"


def _file_document(shown: Shown) -> dict[str, Any]:
    header = shown.header
    return {
        "file": shown.where,
        "size_bytes": header.file_bytes,
        "sha256": shown.sha256,
        "architecture": header.architecture,
        "template": isinstance(header.metadata.get(TEMPLATE_KEY), str),
        "tensors": [
            {"type": kind, "count": count, "size_bytes": size}
            for kind, count, size in tensors_by_type(header)
        ],
        "metadata": {key: _as_json(value) for key, value in header.metadata.items()},
    }


def _as_json(value: Value) -> Any:
    """JSON knows no infinity; a list that was stepped over is told by its length."""
    if isinstance(value, Skipped):
        return {"count": value.count}
    if isinstance(value, tuple):
        return [_as_json(each) for each in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


# ----------------------------------------------------------------------------
# `gemma-edge path`: where a model's file is, or where all of them are.


@dataclass(frozen=True, slots=True, kw_only=True)
class PathFlags:
    """Of what."""

    name: Annotated[
        str | None,
        argument("NAME", "A model; without one, the store's folders.", complete=stored_names),
    ] = None
    projector: Annotated[bool, option("--projector", help="The model's projector instead.")] = False


def path_command(
    asked: PathFlags, store: StoreFlags, show: ShowFlags, context: Context, output: Output
) -> ExitStatus:
    """Print the path of a model that is on this machine, for other programs. Fetches nothing.

    \b
    llama-server -m "$(gemma-edge path e4b)" --mmproj "$(gemma-edge path e4b --projector)"
    gemma-edge path
    """
    runtime = open_runtime(store, context, output)
    settings = runtime.store
    if asked.name is None:
        return _folders(settings, show, output)
    path = find_path(asked.name, asked.projector, runtime)
    if show.json:
        output.document({"path": str(path)})
    else:
        output.data(str(path))
    return ExitStatus.OK


def find_path(name: str, projector: bool, runtime: Runtime) -> Path:
    """The file of a model on this machine; nothing is fetched. The hint of a ModelError is the
    command that fetches it; a UsageError says that the name can mean several."""
    runtime = replace(runtime, store=replace(runtime.store, offline=True))
    settings = runtime.store
    kind = catalog.kind_of(name)
    if kind == "bundled":
        files = catalog.resolve(name)
        found = files.projector if projector else files.model
    elif kind in ("size", "remote"):
        target = find_target(name, settings)
        wanted = target.projector if projector else target.model
        if wanted is not None and find_missing([wanted], runtime):
            what = f"the projector of `{name}`" if projector else f"`{name}`"
            raise ModelError(f"{what} is not on this machine", hint=pull_command(target, runtime))
        found = fetch([wanted], runtime)[0] if wanted else None
    else:
        found = None if projector else select([name], list_files(settings), settings)[0].path
    if found is None:
        raise ModelError(f"nothing is known of a projector of `{name}`", hint="gemma-edge list")
    return found


def _folders(settings: StoreSettings, show: ShowFlags, output: Output) -> ExitStatus:
    folders = {
        "cache": settings.cache_dir,
        "models": settings.models_dir,
        "imported": settings.import_dir,
        "data": settings.data_dir,
        "lock": settings.user_lock,
        "project_lock": settings.project_lock,
    }
    if show.json:
        output.document({key: str(path) if path else None for key, path in folders.items()})
    else:
        output.table([(key.replace("_", " "), str(path)) for key, path in folders.items() if path])
    return ExitStatus.OK


# ----------------------------------------------------------------------------
# `gemma-edge verify`: read every model file again and compare its sha256.


BAD = ("wrong", "unreadable")
_SAID_BY = {"lock": "as the lock says", "hub": "as the hub says", "": "nothing to compare with"}


def verify_command(
    names: Annotated[
        tuple[str, ...],
        argument("NAME", "Of `gemma-edge list`; without any, all of them.", complete=stored_names),
    ] = (),
    *,
    store: StoreFlags,
    show: ShowFlags,
    context: Context,
    output: Output,
) -> ExitStatus:
    """Prove that model files are what they were: every byte is read again. Status 4 if one is not.

    \b
    gemma-edge verify
    gemma-edge verify e4b
    """
    runtime = open_runtime(store, context, output)
    settings = runtime.store
    files = [stored for stored in list_files(settings) if stored.where != "incomplete"]
    if names:
        files = select(names, files, settings)
    with runtime.progress() as listen:
        verdicts = list(verify(settings, files=files, on_progress=listen))
    if show.json:
        output.document(
            {"files": [asdict(verdict) | {"path": str(verdict.path)} for verdict in verdicts]}
        )
    elif verdicts:
        output.table([(each.state, "" if each.state in BAD else _SAID_BY[each.promised_by],
                       each.name) for each in verdicts])  # fmt: skip
    bad = [verdict for verdict in verdicts if verdict.state in BAD]
    for verdict in bad:
        output.problem(_reason(verdict))
    if bad:
        again = bad[0].name
        raise ModelError(
            f"{len(bad)} of {render_count(len(verdicts))} cannot be trusted",
            hint=f"gemma-edge rm {again}"
            + (f", then gemma-edge pull {again}" if again.startswith("hf:") else ""),
        )
    output.note(f"{render_count(len(files))}, {render_bytes(count_bytes(files))} read")
    return ExitStatus.OK


def _reason(verdict: Verification) -> str:
    if verdict.state == "unreadable":
        return f"{verdict.path} cannot be read: {verdict.reason}"
    return (
        f"{verdict.path} has been changed or damaged\n"
        f"expected sha256 {verdict.expected}\n"
        f"found    sha256 {verdict.sha256}"
    )


# ----------------------------------------------------------------------------
# `gemma-edge rm`: delete model files, after saying what that frees.


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteFlags(StoreFlags):
    """Whether to ask first."""

    yes: Annotated[bool, option("--yes", "-y", help="Delete without asking.")] = False


def rm_command(
    names: Annotated[
        tuple[str, ...],
        argument("NAME", "Of `gemma-edge list`: a model or a file.", complete=stored_names),
    ],
    *,
    store: DeleteFlags,
    show: ShowFlags,
    context: Context,
    output: Output,
) -> ExitStatus:
    """Delete models from this machine. A projector that another model needs stays.

    \b
    gemma-edge rm e4b
    gemma-edge rm hf:owner/repo/file.gguf --yes
    """
    settings = open_runtime(store, context, output).store
    files = list_files(settings)
    removal = plan_removal(select(names, files, settings, sparing=True), settings)
    size = render_bytes(removal.freed_bytes)
    count = render_count(len(removal.files))
    if not store.yes and not can_ask(context):
        raise UsageError(
            f"deleting {count} frees {size}, and there is no terminal to ask at",
            hint="the same command with --yes",
        )
    for stored in removal.files:
        output.note(f"  {render_bytes(stored.size_bytes)}  {stored.name}")
    agreed = store.yes or confirm(f"delete {count} and free {size}?", context, output, usual=False)
    if agreed:
        remove(removal)
        output.note(f"{count} deleted, {size} free again")
    else:
        output.note("nothing was deleted")
    if show.json:
        removed = [as_document(stored) for stored in removal.files] if agreed else []
        output.document({"removed": removed, "freed_bytes": removal.freed_bytes if agreed else 0})
    return ExitStatus.OK


# ----------------------------------------------------------------------------
# `gemma-edge import`: take model files from elsewhere in among the store's.


def import_command(
    files: Annotated[tuple[Path, ...], argument("FILE", "A GGUF file; it stays where it is.")],
    *,
    store: StoreFlags,
    show: ShowFlags,
    context: Context,
    output: Output,
) -> ExitStatus:
    """Copy GGUF files from elsewhere into the store, checked and locked. Prints where they are.

    \b
    gemma-edge import /media/stick/gemma-4-E4B.gguf
    gemma-edge chat --model gemma-4-E4B.gguf
    """
    runtime = open_runtime(store, context, output)
    settings = runtime.store
    sources = [file.expanduser() for file in files]
    for source in sources:
        gguf.read_header(source)
    with runtime.progress() as listen:
        taken = [import_file(source, settings, on_progress=listen) for source in sources]
    for stored in taken:
        output.note(
            f"{stored.file}: {render_bytes(stored.size_bytes)}, "
            f"now a name for --model: gemma-edge chat --model {stored.file}"
        )
    return _say_paths([as_document(stored) for stored in taken], show, output)
