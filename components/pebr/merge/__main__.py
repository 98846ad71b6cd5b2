"""The command `python -m pebr.merge`."""

from pebr.merge.settings import Settings
from pebr.merge.work import work
from pebr.step import main

main(Settings, work)
