"""Ways to train the members of a chunk, all with one contract: (state, first step, last step) -> state.

`sequential` is plain PyTorch, one member after another: what the others are measured against.
`stacked` runs the operations of one member's step on all members at once. `compiled` turns them into
C++ in which a vector register holds one number of many members.
"""
