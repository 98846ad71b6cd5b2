"""`python -m pebr.report --help`"""

from pebr.report.render import run
from pebr.report.settings import Settings
from pebr.step import main

main(Settings, run)
