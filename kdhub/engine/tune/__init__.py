"""`kdhub tune`: runs of one config with values that a study proposes, judged on validation data."""
