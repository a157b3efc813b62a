"""Looking and clicking: a session's state and logic, without HTTP, and thin shells over it."""
