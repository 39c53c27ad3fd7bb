"""The middleware and everything else that touches the Anthropic SDK: besides `console.sim` the only importer of it."""
