"""Which of the allowed models is tried next."""
