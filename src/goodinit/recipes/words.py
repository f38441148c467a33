"""What feeds weights and what their results go into, in the words of a plan's reasons."""

from __future__ import annotations

__all__ = ["SINKS", "SOURCES"]

#: By `Source.kind`.
SOURCES = {
    "data": "the data, taken as standardized",
    "norm": "a normalized signal",
    "attention": "attention's mix of values",
    "linear_attention": "an attention without softmax",
    "generated": "a layer whose weights are made",
    "recurrence": "a recurrent state",
    "learned": "a learned vector",
}
#: By `Sink.kind`.
SINKS = {
    "attention_logits": "attention logits of unit variance",
    "attention_mix": "unit values for attention to mix",
    "linear_attention": "a unit part of an attention without softmax",
    "gate": "a unit branch of a gated product",
    "norm": "a normalization follows and fixes the scale",
    "output": "unit outputs",
}
