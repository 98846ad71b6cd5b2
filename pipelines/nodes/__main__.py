"""The command of a step that a cluster file puts on several nodes."""

import sys

from pipelines.nodes.launcher import main

if __name__ == "__main__":
    sys.exit(main())
