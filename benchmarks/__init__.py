"""Speed against other libraries, side by side: `python -m benchmarks`. See docs/performance.md."""
