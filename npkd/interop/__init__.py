"""Networks of other libraries as networks of npkd."""
