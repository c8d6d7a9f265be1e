"""Engines that stay loaded for the next command: told what they are for, and found by it.

A command finds an engine by what was asked for, before anything is planned: the same words, files,
variables and programs lead to the same plan, and a larger context, or one that sees, does for less.
The plan, and what was said of it, come from the engine.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields, replace
from functools import partial
from hashlib import sha256
from importlib.machinery import PathFinder
from math import inf
from pathlib import Path
from typing import Any

from gemma_edge import isolation
from gemma_edge.app.loaded import (
    LoadedEngine,
    Prepared,
    Seen,
    VisionMode,
    Words,
    start_engine,
)
from gemma_edge.app.request import ModelRequest
from gemma_edge.app.runtime import Runtime
from gemma_edge.catalog import ModelFiles
from gemma_edge.engine.process import LoadedProcess
from gemma_edge.engine.protocol import EngineInfo, pack, unpack
from gemma_edge.records import dataclass
from gemma_edge.standby import Standby, Status, use

Ask = Callable[[], "Wish"]

FOUND = "it was loaded already"
_ANYWHERE = ("context_tokens", "vision")  # of a request: one that has more of it does for less
_SHOWS = ("DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY")  # a desktop is not where it computes


@dataclass(frozen=True, slots=True)
class Wish:
    """What a command asks of an engine: ``key`` is what has to be the same, the rest is what there
    has to be enough of."""

    key: str
    context_tokens: int | None
    image_tokens: int | None
    vision: VisionMode
    many: bool = False  # answers at once, as many as there is memory for

    def lacks(self, about: Mapping[str, Any]) -> str:
        """What an engine has not, by what was said of it when it was loaded; "" where it does."""
        try:
            if self.many and not about["asked_many"] and about["pays_many"]:
                return "it answers one at a time"
            if not self._has_context(about):
                return f"it has a context of {about['context_tokens']:,} tokens"
            if not self._sees(about):
                return (
                    "it sees less than this command needs" if about["vision"] else "it sees nothing"
                )
            return "" if _is_unchanged(about["files"]) else "its files have changed"
        except (KeyError, TypeError, ValueError):
            return "what it says of itself is not understood"

    def _has_context(self, about: Mapping[str, Any]) -> bool:
        if self.context_tokens is None:  # as much as there is memory for, and not less
            return about["asked_context"] is None
        return bool(about["context_tokens"] >= self.context_tokens)

    def _sees(self, about: Mapping[str, Any]) -> bool:
        if self.vision == "unused":
            return True
        if not about["vision"]:
            return self.vision == "possible" and about["asked_vision"] != "unused"
        most: int = max(about["image_tokens"], about["asked_image"] or 0)
        return most >= (self.image_tokens or 0)


def wish_of(
    request: ModelRequest, runtime: Runtime, vision: VisionMode, image_tokens: int | None,
    many: bool = False,
) -> Wish:  # fmt: skip
    """What is asked of an engine."""
    if request.vision is not None and vision != "needed":
        vision = "needed" if request.vision else "unused"
    named = [str(getattr(request, each.name)) for each in fields(request)
             if each.name not in _ANYWHERE]  # fmt: skip
    store = runtime.store
    folders = [store.data_dir, store.cache_dir, store.models_dir, store.project_lock]
    # Whether a name is known says the catalogue, which takes longer to read than all the rest.
    is_path = request.model.endswith(".gguf") and os.path.isfile(request.model)
    whole = [
        named, runtime.remember, os.path.abspath(request.model) if is_path else "",
        *(os.path.abspath(each.path) for each in request.adapters),
        *(os.path.abspath(each) for each in (request.mmproj, request.drafter) if each),
        [*map(str, folders), store.trust_lock], None if is_path else _stock(runtime),
        _variables(os.environ), _programs(),  # noqa: TID251  (what a child would get of them)
    ]  # fmt: skip
    key = sha256(json.dumps(whole).encode()).hexdigest()[:16]
    return Wish(key, request.context_tokens, image_tokens, vision, many)


def _variables(environment: Mapping[str, str]) -> list[str]:
    """Those that say where and how it computes."""
    found = set(isolation.about_devices(environment)) - {*_SHOWS}
    return [f"{name}={environment[name]}" for name in sorted(found)]


def _programs() -> list[object]:
    """Which gemma-edge and which llama.cpp: where they are, and when they were written."""
    own = Path(isolation.__file__).parent
    newest = max((_changed(each) for each in (own / "engine").glob("*.py")), default=0)
    found = PathFinder.find_spec("llama_cpp")
    libraries: Sequence[str] = found.submodule_search_locations or () if found else ()
    return [sys.version, str(own), newest, *((each, _changed(Path(each))) for each in libraries)]


def _stock(runtime: Runtime) -> list[object]:
    """What names can mean: the model files on this machine, by the folders that they are in, and
    the locks."""
    store, marks = runtime.store, []
    for folder, pattern in (
        (store.cache_dir, "models--*/snapshots/*"), (store.models_dir, "*/*"),
        (store.import_dir, ""),
    ):  # fmt: skip
        if folder is not None and folder.is_dir():
            found = folder.glob(pattern) if pattern else (folder,)
            marks += [[str(each), _changed(each)] for each in sorted(found)]
    for lock in (store.user_lock, store.project_lock):
        marks += [[str(lock), _changed(lock)]] if lock else []
    return [*marks]


def _changed(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_mtime_ns
    return 0


def _mark(path: Path) -> list[object]:
    """Which file it is, as long as nobody writes into it."""
    status = path.stat()
    return [str(path), status.st_size, status.st_mtime_ns, status.st_ino]


def _is_unchanged(files: Sequence[Sequence[Any]]) -> bool:
    try:
        return all(_mark(Path(each[0])) == list(each) for each in files)
    except OSError:
        return False


# The use cases: with an engine that waits, else with one that is planned and loaded.


def prepare(  # noqa: PLR0913  (as ``app.load.prepare``)
    request: ModelRequest, runtime: Runtime, *, vision: VisionMode,
    image_tokens: int | None = None, images: Sequence[Path] = (), at_once: Sequence[int] = (),
    if_faster: bool = False,
) -> Prepared:  # fmt: skip
    """What an engine that waits was prepared with, else as ``app.load.prepare``, which raises."""
    ask = partial(wish_of, request, runtime, vision, image_tokens, bool(at_once))
    if runtime.standby is not None and runtime.standby.is_dir():
        found, lacks = _find(ask(), runtime.standby, runtime)
        if found is not None:
            return _as_prepared(found, ask, runtime)
        if lacks:
            runtime.note(f"the model that is on standby is not used: {lacks}")
    runtime.begin_anew()
    from gemma_edge.app import load as cold  # noqa: PLC0415  (0.1 s)

    prepared = cold.prepare(
        request, runtime, vision=vision, image_tokens=image_tokens, images=images,
        at_once=at_once, if_faster=if_faster,
    )  # fmt: skip
    return replace(prepared, stay=_staying(prepared, ask, runtime))


def _find(wish: Wish, folder: Path, runtime: Runtime) -> tuple[Standby | None, str]:
    """An engine that waits for this, else why one that was loaded for the same is not used."""
    lacks: list[str] = []

    def fits(status: Status) -> bool:
        why = "it is at work for another command" if status.busy else wish.lacks(status.about)
        lacks.append(why)
        return not why

    found = use(folder, wish.key, fits, seconds=runtime.keep_seconds, private=runtime.private)
    return found, next(filter(None, lacks), "")


def _staying(
    prepared: Prepared, ask: Ask, runtime: Runtime
) -> Callable[[EngineInfo], dict[str, Any]] | None:
    seconds = runtime.keep_seconds
    if not seconds or runtime.private or runtime.standby is None:
        return None
    return partial(
        _tell, prepared, ask, runtime.standby, -1.0 if seconds == inf else seconds,
    )  # fmt: skip


def _tell(
    prepared: Prepared, ask: Ask, folder: Path, seconds: float, info: EngineInfo
) -> dict[str, Any]:
    """What an engine is told that is to stay. What was asked is looked at again: a model that was
    named may have been fetched meanwhile."""
    from gemma_edge.app.load import claim_of, claims_folder  # noqa: PLC0415
    from gemma_edge.planning.speed import pays_at_once  # noqa: PLC0415

    wish = ask()
    plan = info.plan or prepared.plan
    words = [prepared.render(info), prepared.brief, prepared.wanted]
    paths = [plan.model, plan.projector, plan.drafter, *(each.path for each in plan.adapters)]
    files = {**asdict(prepared.files), "model": str(prepared.files.model)}
    files["projector"] = str(prepared.files.projector) if prepared.files.projector else None
    marks = [_mark(each) for each in paths if each is not None]
    about = {
        "title": prepared.candidate.title, "words": words, "files": marks,
        "info": pack(replace(info, plan=replace(plan, alternatives=(), attempts=())), []),
        "image": prepared.image_tokens, "model_files": files, "vision": info.vision,
        "context_tokens": info.context_tokens, "asked_context": wish.context_tokens,
        "image_tokens": plan.image_tokens, "asked_image": wish.image_tokens,
        "asked_vision": wish.vision, "asked_many": wish.many, "device": info.device,
        "pays_many": pays_at_once(plan, prepared.candidate.layers),
    }  # fmt: skip
    claim = claim_of(plan, prepared.candidate, prepared.hardware)
    return {
        "folder": str(folder), "key": wish.key, "seconds": seconds, "about": about,
        "claims": str(claims_folder(prepared.settings)), "claim": asdict(claim),
    }  # fmt: skip


def _as_prepared(found: Standby, ask: Ask, runtime: Runtime) -> Prepared:
    about = found.about
    info: EngineInfo = unpack(about["info"], ())
    plan = info.plan
    assert plan is not None  # it was told with one
    known = dict(about["model_files"])
    files = ModelFiles(**known | {
        "model": Path(known["model"]), "reads": tuple(known["reads"]),
        "projector": Path(known["projector"]) if known["projector"] else None,
    })  # fmt: skip
    line, brief, wanted = about["words"]
    words = Words(f"{line} · {FOUND}", brief, wanted)

    def see() -> Seen:
        from gemma_edge.app.stock import Stock  # noqa: PLC0415

        return Seen(Stock(runtime.store).local(files), runtime.hardware)

    prepared = Prepared(
        files, plan, about["image"], see, runtime.store, words, LoadedProcess(found, plan, info)
    )
    return replace(prepared, stay=_staying(prepared, ask, runtime))


def load(prepared: Prepared, runtime: Runtime) -> LoadedEngine:
    """Begin to load what was prepared, unless it was found loaded; the first use waits for it.
    Whoever asked closes it."""
    found = prepared.found
    if found is not None and found.process.is_idle:
        engine = start_engine(prepared.plan, runtime, found=found, stay=prepared.stay)
        return LoadedEngine(engine, prepared, runtime.note)
    from gemma_edge.app import load as cold  # noqa: PLC0415

    return cold.load(prepared, runtime)


@contextmanager
def open_engine(prepared: Prepared, runtime: Runtime) -> Iterator[LoadedEngine]:
    """Load the plan and pass on what the engine has to say; it is closed whatever happens."""
    engine = load(prepared, runtime)
    try:
        engine.watch(runtime.on_event)
        for note in engine.info.notes:
            runtime.note(note)
        yield engine
        engine.learn()
    finally:
        engine.close()
