"""The hooks that kdhub adds to a run; `kdhub.engine.defaults` puts them into the config."""
