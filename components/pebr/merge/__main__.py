"""The command `python -m pebr.merge`."""

from pebr.merge.settings import Settings
from pebr.merge.work import work
from pebr.step.command import main

main(Settings, work)
