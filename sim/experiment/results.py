"""Result folders of comparisons. Each file is written completely or not at all.

All names but that of the records start with `_`, so that `pandas.read_parquet(FOLDER)` reads the
records.
"""

import json
from pathlib import Path

from lapsd.sim.experiment.comparison import REQUEST_COLUMNS, Comparison
from lapsd.traces.files import claim_folder, write_whole

RECORDS = "requests.parquet"


def claim_results(folder: Path, *, overwrite: bool) -> None:
    """Claim the folder for a comparison; an old result stays until the new one is written.

    Raises
    ------
    ValueError
        If it holds a result and `overwrite` is not set, or holds anything else.
    OSError
        If it cannot be written.
    """
    claim_folder(folder, RECORDS, "result", overwrite=overwrite)


def write_comparison(comparison: Comparison, folder: Path) -> None:
    """Write configuration, table, figure and, last, the records of all requests."""
    (folder / RECORDS).unlink(missing_ok=True)
    document = json.dumps(comparison.configuration, indent=2, default=str) + "\n"
    write_whole(folder / "_config.json", lambda p: p.write_text(document, encoding="utf-8"))
    table = json.dumps(comparison.records, indent=2) + "\n"
    write_whole(folder / "_table.json", lambda p: p.write_text(table, encoding="utf-8"))
    write_whole(folder / "_latency.png", lambda p: save_figure(comparison, p))
    records = comparison.requests[comparison.requests["policy"].isin(comparison.policies)][
        list(REQUEST_COLUMNS)
    ]
    write_whole(folder / RECORDS, lambda p: records.to_parquet(p, index=False))


def save_figure(comparison: Comparison, path: Path) -> None:
    """Draw the comparison into `path`, in the format of its suffix.

    Raises
    ------
    ValueError
        If matplotlib knows no such format.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 3.9), layout="constrained")
    comparison.plot(figure.subplots())
    figure.savefig(path, dpi=160)
