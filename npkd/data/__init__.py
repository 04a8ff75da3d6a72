"""Data sets, IDX files, shards, batches and samples; augmentation, and transfer sets with a teacher's answers."""
