"""Data sets, IDX files, shards, batches and samples."""
