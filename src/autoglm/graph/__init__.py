"""From the model to a compiled graph: nodes, scopes, edges, order, critical path. Pure."""
