"""The command `python -m pebr.filter`."""

from pebr.filter.settings import Settings
from pebr.filter.work import work
from pebr.step.command import main

main(Settings, work)
