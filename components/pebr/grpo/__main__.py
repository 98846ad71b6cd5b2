"""The command `python -m pebr.grpo`."""

from pebr.grpo.settings import Settings
from pebr.grpo.work import work
from pebr.step.command import main

if __name__ == "__main__":
    main(Settings, work)
