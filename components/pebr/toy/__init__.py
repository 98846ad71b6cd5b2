"""The toy data: drawn images with questions, a tiny VLM and a tiny CLIP, all generated from a seed."""
