"""A simulated Claude API on loopback, and a sample application that calls it: for the demo, drills and tests.

The server (`console.sim.api`) and its parent's side (`console.sim.server`) load only the standard library and h11,
never the Anthropic SDK, so that what they put on the wire cannot agree with the SDK by sharing its code. Only
`console.sim.application` imports the SDK, as any application does.
"""
