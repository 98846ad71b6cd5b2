"""The command `python -m pebr.sft`."""

from pebr.sft.settings import Settings
from pebr.sft.work import work
from pebr.step.command import main

main(Settings, work)
