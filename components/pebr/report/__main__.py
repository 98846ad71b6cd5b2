"""`python -m pebr.report --help`"""

from pebr.report.settings import Settings
from pebr.report.work import work
from pebr.step.command import main

main(Settings, work)
