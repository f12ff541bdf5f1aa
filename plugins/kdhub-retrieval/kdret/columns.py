"""Names of text columns, which datasets, encoder and metric share."""

QUERY = "query"
DOCUMENT = "document"
TEXT = "text"
"""A text that is neither, or either."""
