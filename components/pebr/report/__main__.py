"""The command `python -m pebr.report`."""

from pebr.report.settings import Settings
from pebr.report.work import work
from pebr.step.command import main

main(Settings, work)
