"""Methods that remove neurons in other ways: what the sources compare with."""
