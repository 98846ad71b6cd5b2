"""SFT: supervised warm-up of the language model on structured answers, vision tower and projector frozen."""
