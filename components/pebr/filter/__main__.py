"""`python -m pebr.filter --help`"""

from pebr.filter.filtering import run
from pebr.filter.settings import Settings
from pebr.step import main

main(Settings, run)
