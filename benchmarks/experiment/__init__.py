"""The parts of `benchmarks/claim.py`: arms, the steps that they run, statistics, the page."""
