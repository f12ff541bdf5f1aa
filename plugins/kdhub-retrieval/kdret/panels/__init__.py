"""What the report shows of retrieval: quality by its cost, and the queries that changed."""
