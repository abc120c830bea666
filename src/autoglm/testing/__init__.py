"""What extensions are tested with: one conformance suite for each port."""
