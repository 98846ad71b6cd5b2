"""`python -m pebr.evaluate --help`"""

from pebr.evaluate.settings import Settings
from pebr.evaluate.work import work
from pebr.step.command import main

main(Settings, work)
