"""Progress while it runs; a table, JSON and a picture at the end."""

from __future__ import annotations

import json
import platform
import statistics
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def add_options(parser: argparse.ArgumentParser) -> None:
    from pathlib import Path

    group = parser.add_argument_group("the report")
    group.add_argument("--json", type=Path, help="write the figures here")
    group.add_argument("--plot", type=Path, help="draw a picture here (needs the extra `loadtests`)")
    parser.add_argument("--seed", type=int, default=1)


class Progress:
    """One line on a terminal, rewritten at most four times a second."""

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, text: str) -> None:
        now = time.monotonic()
        if now >= self._next and sys.stderr.isatty():
            self._next = now + 0.25
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()

    def done(self) -> None:
        if sys.stderr.isatty():
            sys.stderr.write("\r\x1b[K")


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """In milliseconds: p50, p99, p99.9 and the worst."""
    if not seconds:
        return {}
    ordered = sorted(seconds)
    at = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
    return {
        name: round(ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000, 2) for name, share in at.items()
    }


def medians(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Figure by figure the median of several runs; what is no number is the last one's."""
    result: dict[str, Any] = {}
    for name, last in runs[-1].items():
        values = [run[name] for run in runs]
        if isinstance(last, dict):
            result[name] = medians(values)
        elif isinstance(last, int | float) and not isinstance(last, bool):
            result[name] = round(statistics.median(values), 3)
        else:
            result[name] = last
    return result


def show(title: str, figures: Mapping[str, Any], options: argparse.Namespace) -> None:
    """Print the table and write the JSON."""
    flat = {
        f"{name} {inner}" if isinstance(value, dict) else name: innermost
        for name, value in figures.items()
        for inner, innermost in (value.items() if isinstance(value, dict) else [("", value)])
    }
    width = max(map(len, flat))
    sys.stdout.write(f"{title}\n")
    for name, value in flat.items():
        sys.stdout.write(
            f"  {name:<{width}}  {value:,}\n" if isinstance(value, int | float) else f"  {name:<{width}}  {value}\n"
        )
    if options.json:
        about = {"python": platform.python_version(), "machine": platform.machine(), "title": title}
        options.json.write_text(json.dumps({**about, **figures}, indent=2) + "\n")


def plot(
    path: Path,
    title: str,
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    x: str,
    y: str,
    *,
    log: bool = False,
) -> None:
    """Draw `lines`: label → (x values, y values). `log`: x in powers of ten."""
    try:
        import matplotlib as mpl
    except ImportError:
        raise SystemExit("--plot needs matplotlib: install `deskbell[loadtests]`") from None
    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 4.5), layout="constrained")
    for label, (xs, ys) in lines.items():
        axes.plot(xs, ys, label=label, linewidth=1.6)
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.set_ylim(bottom=0)
    if log:
        axes.set_xscale("log")
    axes.grid(alpha=0.25)
    if len(lines) > 1:
        axes.legend(frameon=False)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
