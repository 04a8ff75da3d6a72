"""The command line: settings, runs and their files, progress."""
