"""One interface to sample answers, two engines behind it: vLLM and Hugging Face transformers."""
