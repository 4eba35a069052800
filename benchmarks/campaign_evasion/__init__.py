"""What it costs an operation to stay unlinked: one evasion at a time, all together, and the axes of cover and accounts."""
