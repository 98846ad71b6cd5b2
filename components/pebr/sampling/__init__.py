"""Sample answers: one interface with two engines, vLLM and Hugging Face transformers."""
