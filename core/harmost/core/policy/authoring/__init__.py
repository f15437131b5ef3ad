"""Tools of rule authors: tests, lint, explanations. Never on the path of a call."""
