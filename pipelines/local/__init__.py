"""The local runner: steps as processes of this machine, and what they have made."""
