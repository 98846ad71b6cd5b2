"""The command `python -m pebr.split`."""

from pebr.split.settings import Settings
from pebr.split.work import work
from pebr.step.command import main

main(Settings, work)
