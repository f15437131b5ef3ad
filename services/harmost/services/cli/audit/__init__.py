"""`harmost audit`: prove what the audit log says, and to whom it was said."""
