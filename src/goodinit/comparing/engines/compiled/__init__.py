"""One member's step as C++ in which every number is a vector that holds that number of many members.

A member's tensors become arrays of vectors (`program`), operations become loops over them (`pointwise`,
`contraction`, `moving`), and views cost nothing, since a value is a place and strides. The arrays of a
handful of members stay in the first cache over thousands of steps.
"""
