"""What a plan may choose from, for what was asked: one file, one quant, or all of the catalogue."""

from dataclasses import replace
from pathlib import Path

from gemma_edge import catalog
from gemma_edge.catalog import ModelFiles
from gemma_edge.cli.context import Context
from gemma_edge.cli.options import AUTO, ModelOptions
from gemma_edge.cli.output import Output
from gemma_edge.cli.plan.candidates import Stock
from gemma_edge.cli.store.fetching import find_local, find_missing, read_remote
from gemma_edge.cli.store.targets import (
    Target,
    find_target,
    name_of,
    offered_quants,
    pinned_name,
)
from gemma_edge.fit.candidate import Candidate
from gemma_edge.fit.pair import check_model, check_pair
from gemma_edge.store import StoreSettings
from gemma_edge.store.headers import find_kept_header, read_local_header


def offer(
    options: ModelOptions, stock: Stock, settings: StoreSettings, context: Context, output: Output
) -> list[Candidate]:
    """Candidates for ``--model`` and ``--quant``. Only a file of the hub that is neither here nor
    in the catalogue is asked for, by its header.

    Raises:
        ModelError: there is no such model, or a file of it is damaged.
        UsageError, GemmaEdgeError: as reading a header from the hub.
    """
    name = pinned_name(options)
    kind = "size" if options.model == AUTO else catalog.kind_of(name)
    if kind == "size":
        found = stock.quants(offered_quants(options))
        if options.model == AUTO and options.quant is None:
            known = {each.model_path for each in found}
            found += [each for each in stock.on_disk() if each.model_path not in known]
    elif kind == "remote":
        target = find_target(name, settings)
        if target.wanted is None:
            target = fetch_header(target, settings, context, output)
        found = [of_hub(target, stock, settings)]
    else:
        found = [stock.local(find_local(name, None, settings))]
        check_model(found[0].header)
    if options.mmproj is None:
        return found
    return [with_projector(each, options.mmproj.expanduser(), settings) for each in found]


def fetch_headers(
    options: ModelOptions, settings: StoreSettings, context: Context, output: Output
) -> None:
    """Headers from the hub of what may be chosen, as far as they are not here; 15 MiB each.

    Raises:
        ModelError: one of them is not there, or ``settings.offline``.
        GemmaEdgeError: the network failed.
    """
    if options.model == AUTO or catalog.kind_of(options.model) == "size":
        for size, quant in offered_quants(options):
            target = find_target(name_of(size, quant), settings)
            fetch_header(target, settings, context, output)


def fetch_header(
    target: Target, settings: StoreSettings, context: Context, output: Output
) -> Target:
    """Those of a model and of its projector, unless the files or the headers are here. Returns the
    target at the commit that was read: headers are kept by it, a branch or a tag does not say it.

    Raises:
        ModelError, GemmaEdgeError: as above.
    """
    for file in filter(None, (target.model, target.projector)):
        if find_kept_header(file, settings) is None and find_missing(
            [file], settings, context, output
        ):
            _, upstream = read_remote(file, settings, context, output)
            if file is target.model:
                target = replace(target, model=replace(file, revision=upstream.commit))
    return target


def of_hub(target: Target, stock: Stock, settings: StoreSettings) -> Candidate:
    """A file of the hub; one that the catalogue does not know by its header, which is here
    (``fetch_header``).

    Raises:
        ModelError: it is no language model.
    """
    known = target.wanted
    if known is not None:
        return stock.quant(known.size, known.quant)
    path = stock.path(target.model)
    if path is not None:
        return stock.local(ModelFiles(name=target.asked, model=path))
    header = find_kept_header(target.model, settings)
    assert header is not None
    check_model(header)
    return Candidate(name=target.asked, title=target.title, header=header, on_disk=False)


def with_projector(candidate: Candidate, path: Path, settings: StoreSettings) -> Candidate:
    """The projector that a person named, in place of its own.

    Raises:
        ModelError, ProjectorError: it is none, or of another model.
    """
    projector = read_local_header(path, settings)
    check_pair(candidate.header, projector)
    files = replace(candidate.files, projector=path) if candidate.files else None
    return replace(candidate, projector=projector, files=files)
