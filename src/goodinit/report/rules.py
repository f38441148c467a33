"""What each code of a finding means and what cures it, for services that show a rule beside its results.

The page docs/findings.md says it at length, under an anchor for each code.
"""

from __future__ import annotations

from typing import Final

__all__ = ["RULES"]

#: Code -> what it means and what to do, in a few sentences.
RULES: Final = {
    "GI101": (
        "A parameter holds NaN, infinity, absurd values or what was in memory before, or every weight "
        "is zero. Initialise the model."
    ),
    "GI102": (
        "Layer outputs shrink with depth, so that the end of the network hardly sees its input. Give "
        "the weights the scale that their fan-in and activation need."
    ),
    "GI103": (
        "Layer outputs grow with depth, or one layer multiplies them. Give the weights the scale that "
        "their fan-in and activation need."
    ),
    "GI104": (
        "Gradients shrink on their way from the loss to the input, so that the first layers do not "
        "learn. Give the weights the scale that their fan-out and activation need, or add skip "
        "connections."
    ),
    "GI105": (
        "Gradients grow on their way from the loss to the input, so that training diverges or a tiny "
        "learning rate is needed. Give the weights a smaller scale, or add skip connections."
    ),
    "GI106": (
        "Units are zero for every sample, so that no gradient reaches their weights. Start biases at "
        "zero and feed inputs with mean zero."
    ),
    "GI107": (
        "A value that is not a finite number appears in the forward or backward pass. Mend the "
        "parameter or operation that is named."
    ),
    "GI108": (
        "From some layer on, all samples give nearly the same output: the input is forgotten. Give the "
        "weights the scale that keeps different inputs apart; where the batch itself is nearly constant, "
        "take its mean away."
    ),
    "GI109": (
        "Most outputs lie where the activation is flat, so that gradients vanish there. Make weights or "
        "inputs smaller."
    ),
    "GI110": (
        "Units start with equal weights, compute the same and stay equal for ever. Initialise them at random."
    ),
    "GI111": (
        "Weights that hold the signal make the gradient grow or fade with depth, and the reverse: the "
        "scale alone cures only one of them. Look for the scale where both hold best, or use skip "
        "connections or ReLU."
    ),
    "GI112": (
        "All tokens of a sample become nearly the same vector: attention averages them and nothing "
        "keeps them apart. Add skip connections around attention and feed-forward blocks."
    ),
    "GI113": (
        "Queries put nearly all their weight on one key from the start, and softmax passes next to no "
        "gradient to queries and keys. Scale the logits by one over the square root of the head's "
        "width, and make the weights of queries and keys smaller."
    ),
    "GI114": (
        "Each residual branch adds to the stream, which grows with depth. Scale the branches' last "
        "weights by one over the square root of their number, or start them at zero."
    ),
    "GI115": (
        "Layers start as copies of each other, as when one layer is cloned or drawn from one seed. In "
        "series they grow apart; side by side they may stay equal. Initialise each of them."
    ),
    "GI116": (
        "Parts of one tensor are copies of each other, as when every rank draws with the same seed. "
        "Draw from keys that depend on the element, as goodinit does."
    ),
    "GI117": (
        "A parameter takes part in the output but its gradient is exactly zero, so that it does not "
        "learn in the first step. If nobody chose a zero behind it, look for detached values, rounding "
        "or a mask."
    ),
    "GI118": "The embedding's padding row is not zero, so that padding has a meaning. Set that row to zero.",
    "GI119": (
        "A deep plain network has the weights of torch's default: a third to a sixth of the variance "
        "that keeps different inputs apart. Initialise it for its activation."
    ),
    "GI120": (
        "The forget gates start too closed for the time span that matters. Start their bias at one or higher."
    ),
    "GI121": (
        "The first loss is far above that of a uniform guess: the outputs are too large at the start. "
        "Make the last layer's weights smaller, or start them at zero."
    ),
    "GI122": (
        "Embedding and output layer share a weight whose scale suits only one of them. Take a smaller "
        "scale, or a factor at one of the two."
    ),
    "GI123": (
        "Values or gradients fall below what the precision can hold. Use bfloat16, loss scaling, or "
        "other weights."
    ),
    "GI124": (
        "Batch norms without skip connections multiply the gradient at every layer, whatever the "
        "weights. Add skip connections, or replace the norms."
    ),
    "GI125": (
        "No gradient can reach a parameter: this forward pass does not use it, or detaches it. Use it, "
        "remove it, or freeze it. Where no parameter is reached, return outputs that can be differentiated."
    ),
    "GI126": (
        "The outputs of layers change by amounts that depend on width, so that a learning rate does not "
        "carry over. Scale initial values and learning rates with width (muP)."
    ),
    "GI127": (
        "What a recurrent network saw early hardly reaches its last step. Raise the forget gate's bias, "
        "or use an orthogonal recurrent weight."
    ),
    "GI128": (
        "The output of one sample depends on the others of its batch. Set batch_first=True where layers take "
        "(batch, time, features), and reshape with the batch as the first dimension."
    ),
    "GI129": (
        "The last operation's range does not reach the targets. Return what goes into it, or bring the "
        "targets into its range."
    ),
    "GI130": (
        "Output and target have different shapes, and the loss compares each output with every target. "
        "Give both one shape."
    ),
    "GI131": (
        "The output starts far larger than its targets. Standardize inputs and targets, or start the last "
        "layer small."
    ),
    "GI132": (
        "No layer was seen to use the trainable parameters, so signals and gradients were not judged. Use "
        "torch.nn layers, linear or @, outside of torch.func transforms."
    ),
}
