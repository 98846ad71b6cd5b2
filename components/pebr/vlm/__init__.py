"""The vision-language model: families, loading, prompts, response sections, packed rows."""
