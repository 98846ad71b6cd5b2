"""`python -m pebr.evaluate --help`"""

from pebr.evaluate.evaluation import run
from pebr.evaluate.settings import Settings
from pebr.step import main

main(Settings, run)
