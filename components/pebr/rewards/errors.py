"""The error of the rewards."""


class RewardError(RuntimeError):
    """A component cannot score a sample. The run stops: a failure must never look like a low reward.

    The message names the component, the sample (its question id) and the cause.
    """
