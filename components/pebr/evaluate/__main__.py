"""The command `python -m pebr.evaluate`."""

from pebr.evaluate.settings import Settings
from pebr.evaluate.work import work
from pebr.step.command import main

main(Settings, work)
