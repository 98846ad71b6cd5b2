"""The command `python -m pebr.ingest`."""

from pebr.ingest.settings import Settings
from pebr.ingest.work import work
from pebr.step.command import main

main(Settings, work)
