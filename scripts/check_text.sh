#!/usr/bin/env bash
# Spelling (typos), shell scripts (shellcheck), the programs that run the guide, its list of commands, the tests that docs/features.md names, and the form of log
# messages: they begin in lower case, have no full stop, and contain no values. Values are fields, so that equal events have equal messages.
# Failure: file, line and reason; exit code 1.
set -euo pipefail

TYPOS=1.52.0

cd "$(dirname "${BASH_SOURCE[0]}")/.."
tools="${DATA_PROC_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/254carbon}/tools"
typos="$tools/typos-$TYPOS/bin/typos"

if [ ! -x "$typos" ]; then
  echo "installing typos $TYPOS (once)" >&2
  # The wheel contains the program: it installs in seconds, a build takes minutes.
  if ! { python3 -m venv "$tools/typos-$TYPOS" && "$tools/typos-$TYPOS/bin/pip" install --quiet --disable-pip-version-check "typos==$TYPOS"; }; then
    echo "typos $TYPOS cannot be installed: apt-get install python3-venv, and see what pip says above" >&2
    exit 1
  fi
fi
"$typos" --format brief

shellcheck scripts/*.sh .ci/run

# The commands themselves are run by `make test-guide` and `make test-k8s`. Here: that every exception belongs to one.
scripts/check_guide.py --list >/dev/null
scripts/check_cluster_guide.py --list >/dev/null
python3 scripts/check_guide_test.py --quiet
python3 scripts/check_cluster_guide_test.py --quiet
python3 scripts/guide_commands_test.py --quiet

# The last column names functions with at least two underscores; metrics and the like are in the column before.
functions=$(grep -rhoE --include='*.rs' 'fn [a-z0-9_]+\(' crates services tests | sed 's/^fn //; s/($//' | sort -u)
missing=$(awk -F' \\| ' '/^\| [0-9]/ && NF == 4 { print $4 }' docs/features.md | grep -oE "\`[a-z0-9]+(_[a-z0-9]+){2,}\`" | tr -d "\`" |
  sort -u | comm -23 - <(echo "$functions"))
if [ -n "$missing" ]; then
  awk '{ print "docs/features.md: there is no test " $0 }' <<<"$missing" >&2
  exit 1
fi

# shellcheck disable=SC2016 # the variables are perl's
find crates services -path '*/src/*' -name '*.rs' -print0 | xargs -0 perl -0777 -ne '
  while (/\b(?:trace|debug|info|warn|error)!\((.*?)\);/gs) {
    my ($call, $line) = ($1, 1 + (substr($_, 0, $-[0]) =~ tr/\n//));
    my @strings = $call =~ /"((?:[^"\\]|\\.)*)"/g;
    my $message = $call =~ /^\s*"/ ? $strings[0] : $strings[-1];
    my $wrong = !defined $message ? "no message"
      : $message =~ /^[A-Z][a-z]/ ? "begins with a capital"
      : $message =~ /\.$/         ? "ends with a full stop"
      : $message =~ /\{/          ? "holds a value: make it a field"
      : next;
    print STDERR "$ARGV:$line: log message $wrong: ", $message // "", "\n";
    $failed = 1;
  }
  END { exit($failed ? 1 : 0) }'
