"""The one error of the rewards."""


class RewardError(RuntimeError):
    """A component cannot score a sample. It stops the step: a failure must never pass for a low reward.

    The message names the component, the sample (its question id) and the cause.
    """
