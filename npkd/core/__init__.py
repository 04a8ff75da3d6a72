"""Types, validation of arguments, linear algebra and files: what every other room builds on."""
