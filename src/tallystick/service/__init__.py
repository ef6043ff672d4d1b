"""What stands behind the pair: files, later programs, HTTP, TCP and MCP."""
