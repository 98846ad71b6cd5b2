"""The command `python -m pebr.report`; with `--follow RUN`, a server of the live report."""

import sys

from pebr.report import follow
from pebr.report.settings import Settings
from pebr.report.work import work
from pebr.step.command import main

if any(word.partition("=")[0] == "--follow" for word in sys.argv[1:]):
    sys.exit(follow.main())
main(Settings, work)
