"""`python -m pebr.split --help`"""

from pebr.split.difficulty import run
from pebr.split.settings import Settings
from pebr.step import main

main(Settings, run)
