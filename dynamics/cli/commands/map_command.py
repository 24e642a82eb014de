"""Draw where an experiment's claims hold and where not, over a small grid of settings.

A map is a file configs/maps/NAME.yaml, in one's own folder or the suite's; without a name all are drawn. What is
missing is computed and stored as studies are. Pictures go to figures/maps in the output folder; with --page a Markdown
page with all that were named is written too, with its pictures in images/maps beside it.
"""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from dynamics.cli.arguments import CommandParser


def add_arguments(parser: CommandParser) -> None:
    """Declare the maps, where results and figures are, and the page."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="maps (default: all)")
    parser.add_argument("--output", type=Path, default=Path("."), help="folder of results/ and figures/ (default: here)")
    parser.add_argument("--page", type=Path, help="a Markdown page to write, such as docs/claim_maps.md")


def run(options: Namespace) -> None:
    """Compute, judge and draw the maps one by one."""
    import matplotlib

    from dynamics.analysis.claim_map_pages import draw_map, format_page
    from dynamics.analysis.claim_maps import compose_map, judge_map, read_map
    from dynamics.analysis.figures import write_page
    from dynamics.core.devices import prepare
    from dynamics.study.folders import map_names

    prepare()
    matplotlib.use("Agg")
    asked = [read_map(name) for name in options.names or map_names()]
    for one in asked:
        compose_map(one, options.output)  # so that a setting that is not allowed is told before the first is computed
    judged = []
    for one in asked:
        judged.append(judge_map(one, options.output, print))
        folders = [options.output / "figures" / "maps"]
        if options.page is not None:
            folders.append(options.page.parent / "images" / "maps")
        page = draw_map(judged[-1])
        print(write_page(page, folders[0], one.name)[1])
        for folder in folders[1:]:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{one.name}.png").write_bytes(page._repr_png_())
    if options.page is not None:
        options.page.write_text(format_page(judged, Path("images/maps")))
        print(options.page)
