"""`python -m pebr.ingest --help`"""

from pebr.ingest.settings import Settings
from pebr.ingest.sources import run
from pebr.step import main

main(Settings, run)
