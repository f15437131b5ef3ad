"""Structs of the domain as messages of the wire, written without a message object between."""
