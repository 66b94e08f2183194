"""Result folders of comparisons. Each file is written completely or not at all.

All names but that of the records start with `_`, so that `pandas.read_parquet(FOLDER)` reads the
records.
"""

import json
from pathlib import Path

from lapsd.sim.experiment.comparison import REQUEST_COLUMNS, Comparison
from lapsd.sim.figures.saving import save
from lapsd.sim.figures.style import PAGE, new_figure
from lapsd.traces.files import Kind, write_text, write_whole

RECORDS, CONFIG, TABLE, FIGURE = "requests.parquet", "_config.json", "_table.json", "_latency.png"
COMPARISON = Kind("result", TABLE, (RECORDS, CONFIG, TABLE, FIGURE))


def write_comparison(comparison: Comparison, folder: Path) -> None:
    """Write the records of all requests, the configuration and the table."""
    records = comparison.requests[comparison.requests["policy"].isin(comparison.policies)][
        list(REQUEST_COLUMNS)
    ]
    write_whole(folder / RECORDS, lambda p: records.to_parquet(p, index=False))
    write_text(folder / CONFIG, json.dumps(comparison.configuration, indent=2, default=str) + "\n")
    write_text(folder / TABLE, json.dumps(comparison.records, indent=2) + "\n")


def save_figure(comparison: Comparison, path: Path) -> None:
    """Draw the comparison into a file, in the format of its suffix.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    figure = new_figure(PAGE, 3.9)
    comparison.plot(figure.subplots())
    save(figure, path)
