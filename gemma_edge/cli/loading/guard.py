"""What would be refused after a download is refused before."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gemma_edge import gguf
from gemma_edge.cli.context import Context
from gemma_edge.cli.options import ModelOptions
from gemma_edge.cli.output import Output
from gemma_edge.cli.plan.candidates import Stock
from gemma_edge.cli.plan.offering import fetch_header, of_hub, with_projector
from gemma_edge.cli.plan.planning import Planner
from gemma_edge.cli.store.targets import Target
from gemma_edge.documents.images import open_image
from gemma_edge.errors import DoesNotFit, ProjectorError
from gemma_edge.fit.candidate import Wishes
from gemma_edge.store import StoreSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """All that was asked for, and the machine that it is asked of."""

    options: ModelOptions
    images: Sequence[Path]
    sight: Literal["needed", "possible", "unused"]
    wishes: Wishes
    planner: Planner
    settings: StoreSettings
    context: Context
    output: Output

    def check_inputs(self, has_projector: bool) -> None:
        """Pictures can be read, and there is something to see them with.

        Raises:
            ProjectorError, InputError, ModelError: not so.
        """
        if self.sight == "needed" and not has_projector:
            raise ProjectorError(
                f"`{self.options.model}` is not in the catalogue, which would know its projector",
                hint="--mmproj FILE; gemma-edge pull hf:owner/repo/mmproj.gguf fetches it",
            )
        for path in self.images:
            open_image(path)
        if self.options.mmproj is not None:
            gguf.read_header(self.options.mmproj.expanduser())

    def check_plan(self, target: Target, agreed: bool) -> None:
        """It will run here. Before anybody ``agreed`` to a download, what is known has to do; only
        where that says no, the header is fetched (15 MiB), because an estimate refuses nobody.

        Raises:
            DoesNotFit: it will not, by its own header.
            ModelError: it is no language model.
        """
        if target.wanted is None and not agreed:
            return
        if agreed:
            target = fetch_header(target, self.settings, self.context, self.output)
        candidate = of_hub(target, Stock(self.settings), self.settings)
        if self.options.mmproj is not None:
            path = self.options.mmproj.expanduser()
            candidate = with_projector(candidate, path, self.settings)
        try:
            self.planner.plan([candidate], self.wishes)
        except DoesNotFit:
            if candidate.exact:
                raise
            self.check_plan(target, True)
