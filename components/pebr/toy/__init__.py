"""The tiny world: drawn pictures with questions, a tiny VLM and a tiny CLIP, all made on the spot from a seed."""
