"""The command `python -m pebr.rollout`."""

from pebr.rollout.settings import Settings
from pebr.rollout.work import work
from pebr.step.command import main

if __name__ == "__main__":  # workers are spawned processes, which import this module again
    main(Settings, work)
