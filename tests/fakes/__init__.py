"""Fakes of vendors. A package, so that `fakes.cohere` and the vendor's own `cohere` stay two modules."""
