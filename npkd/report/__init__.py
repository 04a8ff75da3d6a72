"""The report of a run: figures and a page of HTML."""
