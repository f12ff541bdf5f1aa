"""What a `type` names, and which arguments it takes: from source, without importing what the config names."""
