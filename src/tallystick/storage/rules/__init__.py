"""The rules of the projection, by what they protect: keys, pairs and invites, the flow of signals and effects."""
