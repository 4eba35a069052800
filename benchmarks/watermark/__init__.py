"""What the watermark shows: power, attribution, calibration, students; one module per sub-command.

    python -m benchmarks.watermark NAME [options]

Each module gives `NAME`, `add(parser)`, which adds its options, and `run(args)`, which prints a Markdown table and returns
the exit code. The seeds are fixed: figures are the same everywhere, but for the neural student, whose sums a processor may
round in its own way; times are not.
"""
