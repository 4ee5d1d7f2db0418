"""The pages a newcomer reads: links lead somewhere, and every variable they name exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from server.config import CONFIG_FILE, VARIABLES

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
KNOWN = {CONFIG_FILE} | {v.name for v in VARIABLES} | {f"{v.name}_FILE" for v in VARIABLES if v.secret}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    targets = re.findall(r"(?:\]\(|src=\"|srcset=\")([^)#\s\"]+)", page.read_text("utf-8"))
    missing = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_variables_exist(page: Path) -> None:
    named = set(re.findall(r"\bDESKBELL_[A-Z_]*[A-Z]\b", page.read_text("utf-8")))
    assert {name for name in named if not name.startswith("DESKBELL_TEST_")} <= KNOWN
