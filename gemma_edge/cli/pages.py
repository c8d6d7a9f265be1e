"""Help pages: flags in groups, so that the many of a model do not hide the few of a command."""

from typing import Any

from typer.core import TyperCommand

FIRST = ("Arguments", "Options")


class Page(TyperCommand):
    """A command whose flags stand under the title that each was given (``rich_help_panel``)."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """One section a title: arguments, the command's own flags, then the shared ones."""
        groups: dict[str, list[tuple[str, str]]] = {title: [] for title in FIRST}
        for each in self.get_params(ctx):
            record = each.get_help_record(ctx)
            if record is not None:
                groups.setdefault(group_of(each), []).append(record)
        for title, rows in groups.items():
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


def group_of(parameter: object) -> str:
    """The title that a flag or an argument stands under."""
    if getattr(parameter, "param_type_name", "") == "argument":
        return FIRST[0]
    return getattr(parameter, "rich_help_panel", None) or FIRST[1]
