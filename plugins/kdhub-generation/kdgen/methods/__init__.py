"""The methods: each says which loss updates which role."""
