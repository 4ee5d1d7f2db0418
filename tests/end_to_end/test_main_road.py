"""The acceptance script of the main road, as a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.end_to_end.blackbox import drive

if TYPE_CHECKING:
    from pathlib import Path


async def test_main_road(tmp_path: Path) -> None:
    report = await drive(tmp_path / "data", tmp_path / "deskbell.log")
    assert report.failures == []
    assert len(report.steps) == 13
