"""Tables for a terminal, one module per kind of content."""
