"""How paired machines talk, and why nobody else gets an answer (DESIGN 6; docs/spec/knock.md, docs/spec/stream.md).

`knock.Doorkeeper` and `knocker.Knocker` are the two sides of the knock, `session.Session` is either side of the stream,
`filter` holds the programs for the kernel.
"""
