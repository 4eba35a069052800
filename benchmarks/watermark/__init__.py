"""What the watermark shows: power, attribution, calibration, students; one module per sub-command.

    python -m benchmarks.watermark NAME [options]

Each module gives `NAME`, `add(parser)`, which adds its options, and `run(args)`, which prints a Markdown table and returns
the exit code. The seeds are fixed, so figures are the same on every machine; times are not.
"""
