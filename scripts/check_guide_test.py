#!/usr/bin/env python3
"""Tests of check_guide.py with a dp that writes down how it is called.

Failure: the tests that failed; exit code 1.
"""

import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from check_guide import EXCEPTIONS, ROOT, Shell, command, commands, problem, unchecked

# Prints its arguments; answers questions for a tick with a new value each time, as a pipeline under load does.
DP = """#!/bin/sh
echo "$*" >>"{calls}"
case "$*" in
  *tick_id*) echo '[{{"tick_id":"raw/0/'"$(wc -l <"{calls}")"'/0"}}]' ;;
  *"dlq stats"*) echo '{{"groups":[]}}' | jq . ; exit 1 ;;
  *) echo "did $*" ;;
esac
"""


class Guide(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        root = Path(folder.name)
        (root / "bin").mkdir()
        (root / "run").mkdir()
        self.calls = root / "calls"
        dp = root / "bin/dp"
        dp.write_text(DP.format(calls=self.calls))
        dp.chmod(0o755)
        self.shell = Shell(root / "run", root / "bin", [], 0)

    def runs(self, line: str, page: str = "docs/runbooks/A.md") -> str | None:
        return problem(self.shell, command(ROOT / page, 1, line))

    def called(self) -> list[str]:
        return self.calls.read_text().splitlines() if self.calls.exists() else []

    def test_only_marked_blocks_are_read_and_their_notes_understood(self):
        page = Path(self.shell.folder) / "page.md"
        page.write_text("```\ndp down\n```\n\n```sh local\ndp a \\\n  b  # text; exit 0 or 1; soon → x+\ndp c\n```\n")
        first, second = commands(page)
        self.assertEqual((first.text, first.codes, first.soon, first.pattern), ("dp a   b", (0, 1), True, "x+"))
        self.assertEqual((second.text, second.codes, second.soon, second.pattern), ("dp c", (0,), False, None))

    def test_a_placeholder_has_one_value_of_this_run_in_commands_and_patterns(self):
        self.assertIsNone(self.runs("dp explain row --origin TICK_ID  # → did explain row --origin TICK_ID$"))
        self.assertIsNone(self.runs("dp trace 'TICK_ID'  # → did trace raw/0/1/0"))
        self.assertEqual(len([call for call in self.called() if "tick_id" in call]), 1)
        self.assertIn("explain row --origin raw/0/1/0", self.called())

    def test_a_placeholder_without_a_value_is_a_problem(self):
        self.assertIn("no value for CODE", self.runs("dp dlq replay --code CODE --dry-run"))

    def test_runbooks_read_again_only_after_a_change(self):
        for _ in range(2):
            self.assertIsNone(self.runs("dp groups  # → did groups"))
        self.assertEqual(self.called(), ["groups"])
        self.assertIsNone(self.runs("dp stop projection"))
        self.assertIsNone(self.runs("dp groups  # → did groups"))
        self.assertEqual(self.called(), ["groups", "stop projection", "groups"])

    def test_an_output_without_the_pattern_of_another_page_is_read_again(self):
        self.assertIsNone(self.runs("dp groups"))
        self.assertIn("output lacks lag", self.runs("dp groups  # → lag"))
        self.assertEqual(self.called(), ["groups", "groups"])

    def test_a_restart_is_not_repeated_by_another_runbook(self):
        for page in ("docs/runbooks/A.md", "docs/runbooks/B.md"):
            self.assertIsNone(self.runs("dp restart redis  # → did restart redis", page))
            self.assertIsNone(self.runs("dp stop projection", page))
        self.assertEqual(self.called(), ["restart redis", "stop projection", "stop projection"])

    def test_other_pages_run_everything(self):
        for line in ("dp groups", "dp restart redis") * 2:
            self.assertIsNone(self.runs(line, "README.md"))
        self.assertEqual(len(self.called()), 4)

    def test_a_command_has_a_pattern_unless_it_prints_nothing_or_is_not_run(self):
        lines = ["dp a  # → x", "dp b  # exit 1", "at=$(date -u +'%F %T').5  # now", "kill -USR1 $(dp ps)", "X=1 dp c", "a=1 dp d", *EXCEPTIONS]
        found = [command(ROOT / "README.md", number, line) for number, line in enumerate(lines, 1)]
        self.assertEqual([lacking.text for lacking in unchecked(found)], ["dp b", "X=1 dp c", "a=1 dp d"])

    def test_a_command_that_prints_although_it_should_not_is_a_problem(self):
        self.assertIsNone(self.runs("id=$((1 + 1)).25"))
        self.assertIn("sets a variable, and has printed something", self.runs("id=$(echo word >&2)"))

    def test_a_wrong_exit_code_is_a_problem(self):
        self.assertIn("exit code 1, not 0", self.runs("dp dlq stats"))
        self.assertIsNone(self.runs("dp dlq stats  # exit 0 or 1"))


if __name__ == "__main__":
    unittest.main()
