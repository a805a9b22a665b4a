#!/usr/bin/env python3
"""Tests that docs/troubleshooting-commands.md lists every command of the reference guide, in its order.

The guide is beside the project, in the folder `reference` next to that of the real documents (DATA_PROC_SAMPLE_DATA or ../shared/data).
Without it, this test is skipped, and says so.
Failure: the commands and rows that do not belong together; exit code 1.
"""

import os
import re
import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/troubleshooting-commands.md"
DOCUMENTS = Path(os.environ.get("DATA_PROC_SAMPLE_DATA") or ROOT / "../shared/data")
GUIDE = "002_*"
# Rows for what the guide says in words or in a comment.
STEPS = {"adjust thresholds in `config.py`", "outage, data loss, security incident", "edit `monitoring/alert_rules.yml`"}


def commands(guide: str) -> list[str]:
    """The commands of all blocks of a shell, each on one line. A fragment of YAML is one."""
    found, fence, begun, fragment = [], None, "", None
    for line in guide.splitlines():
        text, indent = line.strip(), len(line) - len(line.lstrip())
        if text.startswith("```"):
            fence = text if fence is None else None
            begun, fragment = "", None
            continue
        if fence != "```bash" or (not begun and (not text or text.startswith("#"))):
            continue
        if fragment is not None and indent > fragment:
            continue
        begun = f"{begun} {text}".strip()
        # Until the end of the quotation, or of the continued line.
        if begun.endswith("\\"):
            begun = begun[:-1]
        elif begun.count('"') % 2 == 0:
            fragment = indent if re.fullmatch(r"\w+:", begun) else None
            found.append(begun)
            begun = ""
    return found


def rows(page: str) -> list[list[str]]:
    """The cells of the numbered rows."""
    lines = [line for line in page.splitlines() if re.match(r"\| \d+ \|", line)]
    return [[cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def is_of(cell: str, command: str) -> bool:
    """Whether the row names this command: it may leave words out, and put one of its own, in capitals, for a value."""
    words = re.findall(r"[\w./:=-]+", " ".join(re.findall(r"`([^`]*)`", cell)))
    words = [word for word in words if not re.fullmatch(r"[A-Z_]{3,}", word)]
    return bool(words) and all(word in command for word in words)


class Commands(unittest.TestCase):
    def test_a_block_is_read_with_its_quotations_continued_lines_and_fragments(self):
        guide = (
            "```bash\n# why\na b\n```\n```yaml\nno: command\n```\n- text\n   ```bash\n   ports:\n     - x\n\n   q \"\n   SELECT 1\"\n   c \\\n     d\n   ```\n"
        )
        self.assertEqual(commands(guide), ["a b", "ports:", 'q " SELECT 1"', "c  d"])

    def test_a_row_names_its_command_and_no_other(self):
        self.assertTrue(is_of("`logs -f SERVICE`", "docker-compose logs -f service-name"))
        self.assertTrue(is_of("`metrics | grep x`", "curl localhost/metrics | grep x"))
        self.assertFalse(is_of("`logs -f SERVICE`", "docker-compose logs service-name"))
        self.assertFalse(is_of("in words", "docker-compose logs service-name"))

    def test_the_page_lists_every_command_of_the_guide_in_its_order(self):
        guides = sorted((DOCUMENTS.parent / "reference").glob(GUIDE))
        if not guides:
            why = f"{DOCUMENTS.parent / 'reference'} has no guide; set DATA_PROC_SAMPLE_DATA"
            print(f"SKIPPED {self.id().split('.')[-1]}: {why}", file=sys.stderr)
            self.skipTest(why)
        listed = rows(PAGE.read_text(encoding="utf-8"))
        self.assertEqual([int(row[0]) for row in listed], list(range(1, len(listed) + 1)))
        for number, guide, ours, result in listed:
            self.assertTrue(ours and result, f"row {number} ({guide}) is empty")
        wanted = commands(guides[0].read_text(encoding="utf-8"))
        found = [row for row in listed if row[1] not in STEPS]
        for command, row in zip(wanted, found):
            self.assertTrue(is_of(row[1], command), f"row {row[0]} is {row[1]}, where the guide has {command}")
        self.assertEqual(len(found), len(wanted))


if __name__ == "__main__":
    unittest.main()
