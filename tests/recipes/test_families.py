"""`auto` on the transformers library's own architectures: tiny ones of many families, real and on meta."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import goodinit
from goodinit.graph import places, trace
from goodinit.initializers import Constant, Keep, Normal, Uniform, ZeroRows
from goodinit.plans import Plan, plan

transformers = pytest.importorskip("transformers", reason="needs the transformers library")

WIDTH, LAYERS, VOCABULARY = 32, 2, 96

CAUSAL, MASKED, TO_TEXT = "AutoModelForCausalLM", "AutoModelForMaskedLM", "AutoModelForSeq2SeqLM"
TEXT: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GROUPED = {**TEXT, "num_key_value_heads": 2}
IMAGE = {**{key: TEXT[key] for key in list(TEXT)[1:5]}, "image_size": 32, "patch_size": 8}
BOTH_WAYS = {
    "vocab_size": VOCABULARY,
    "d_model": WIDTH,
    **{f"{side}_layers": LAYERS for side in ("encoder", "decoder")},
    **{f"{side}_attention_heads": 4 for side in ("encoder", "decoder")},
    **{f"{side}_ffn_dim": 64 for side in ("encoder", "decoder")},
}
T5 = {
    "vocab_size": VOCABULARY,
    "d_model": WIDTH,
    "d_kv": 8,
    "d_ff": 64,
    "num_layers": LAYERS,
    "num_heads": 4,
    "pad_token_id": 0,
    "decoder_start_token_id": 0,
}
MAMBA = {"vocab_size": VOCABULARY, "hidden_size": WIDTH, "num_hidden_layers": LAYERS, "state_size": 8}


def ids(*names: str) -> dict[str, torch.Tensor]:
    return {name: torch.randint(1, VOCABULARY, (4, 16)) for name in names or ("input_ids",)}


def pair() -> dict[str, torch.Tensor]:
    return ids("input_ids", "decoder_input_ids")


def pictures(side: int = 32) -> dict[str, torch.Tensor]:
    return {"pixel_values": torch.randn(4, 3, side, side)}


@dataclasses.dataclass(frozen=True)
class Family:
    """One architecture: the class that builds it, its configuration and an input."""

    build: str
    config: dict[str, Any]
    example: Callable[[], dict[str, torch.Tensor]] = ids

    def model(self, kind: str, device: str) -> nn.Module:
        config = transformers.AutoConfig.for_model(kind, **self.config)
        torch.manual_seed(0)
        with torch.device(device):
            return getattr(transformers, self.build).from_config(config).eval()


FAMILIES = {
    "gpt2": Family(
        CAUSAL,
        {"vocab_size": VOCABULARY, "n_embd": WIDTH, "n_layer": LAYERS, "n_head": 4, "n_positions": 64},
    ),
    "llama": Family(CAUSAL, GROUPED),
    "gemma2": Family(CAUSAL, {**GROUPED, "head_dim": 8}),
    "mixtral": Family(CAUSAL, {**GROUPED, "num_local_experts": 4}),
    "gpt_oss": Family(CAUSAL, {**GROUPED, "num_local_experts": 4, "head_dim": 8}),
    "falcon": Family(
        CAUSAL, {key: TEXT[key] for key in list(TEXT)[:4]} | {"alibi": False, "parallel_attn": True}
    ),
    "opt": Family(
        CAUSAL,
        {key: TEXT[key] for key in list(TEXT)[:4]}
        | {"ffn_dim": 64, "word_embed_proj_dim": WIDTH, "max_position_embeddings": 64},
    ),
    "bert": Family(MASKED, TEXT),
    "albert": Family(MASKED, {**TEXT, "embedding_size": 16}),
    "deberta-v2": Family(
        MASKED,
        {
            **TEXT,
            "relative_attention": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_buckets": 8,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "position_biased_input": False,
        },
    ),
    "t5": Family(TO_TEXT, T5, pair),
    "bart": Family(TO_TEXT, {**BOTH_WAYS, "max_position_embeddings": 64}, pair),
    "switch_transformers": Family(
        TO_TEXT,
        {
            **T5,
            "num_experts": 16,
            "num_sparse_encoder_layers": 1,
            "num_sparse_decoder_layers": 1,
            "num_decoder_layers": LAYERS,
        },
        pair,
    ),
    "vit": Family("AutoModelForImageClassification", IMAGE, pictures),
    "swin": Family(
        "AutoModelForImageClassification",
        {
            "embed_dim": 16,
            "depths": [2, 2],
            "num_heads": [2, 4],
            "window_size": 4,
            "image_size": 32,
            "patch_size": 2,
        },
        pictures,
    ),
    "convnext": Family(
        "AutoModelForImageClassification",
        {"depths": [1, 1, 2, 1], "hidden_sizes": [8, 16, 16, 32]},
        lambda: pictures(64),
    ),
    "dinov2": Family(
        "AutoModel",
        {**IMAGE, "mlp_ratio": 2},
        lambda: pictures() | {"bool_masked_pos": torch.arange(64).reshape(4, 16) % 3 == 0},
    ),
    "clip": Family(
        "AutoModel",
        {
            "projection_dim": 16,
            "text_config": {**TEXT, "eos_token_id": VOCABULARY - 1},
            "vision_config": IMAGE,
        },
        lambda: ids() | pictures(),
    ),
    "whisper": Family(
        "AutoModelForSpeechSeq2Seq",
        {
            **BOTH_WAYS,
            "num_mel_bins": 8,
            "max_source_positions": 16,
            "max_target_positions": 32,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "decoder_start_token_id": 1,
        },
        lambda: {"input_features": torch.randn(4, 8, 32)} | ids("decoder_input_ids"),
    ),
}
STATE_SPACE = {
    "mamba": Family(CAUSAL, MAMBA),
    "mamba2": Family(CAUSAL, {**MAMBA, "num_heads": 4, "head_dim": 16, "n_groups": 1, "chunk_size": 8}),
    "rwkv": Family(
        CAUSAL,
        {key: MAMBA[key] for key in list(MAMBA)[:3]} | {"attention_hidden_size": WIDTH, "context_length": 32},
    ),
}


@functools.cache  # plans are values
def planned(kind: str, device: str = "meta") -> Plan:
    family = (FAMILIES | STATE_SPACE)[kind]
    return plan(family.model(kind, device), "auto", example=family.example)


def std(made: Plan, name: str) -> float:
    """The std of a row's draws, padding rows aside."""
    initializer = made[name].initializer
    drawn = initializer.initializer if isinstance(initializer, ZeroRows) else initializer
    return drawn.std


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_family_is_planned_completely_and_starts_healthy(kind: str) -> None:
    family = FAMILIES[kind]
    model = family.model(kind, "cpu")
    made = plan(model, "auto", example=family.example)
    assert {row.name for row in made} == {place.name for place in places(model)}
    made.apply_(model, seed=1)
    torch.manual_seed(2)
    batch = family.example()
    with torch.no_grad():
        outputs = [value for value in model(**batch).values() if isinstance(value, torch.Tensor)]
    assert outputs
    assert all(bool(value.isfinite().all()) for value in outputs)
    report = goodinit.check(model, batch)
    assert not {"GI101", "GI102", "GI103", "GI107"} & {finding.code for finding in report.findings}


def test_the_same_check_catches_a_weight_that_is_far_too_large() -> None:
    family = FAMILIES["llama"]
    model = family.model("llama", "cpu")
    plan(model, "auto", example=family.example, overrides={"*o_proj.weight": Normal(0.0, 1e30)}).apply_(model)
    report = goodinit.check(model, family.example())
    assert {"GI101", "GI102", "GI103", "GI107"} & {finding.code for finding in report.findings}


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_plan_made_on_meta_draws_every_weight_as_one_made_from_values(kind: str) -> None:
    real = {row.name: row for row in planned(kind, "cpu")}
    for row in planned(kind, "meta"):
        if row.fan_in is not None and not isinstance(real[row.name].initializer, Constant):
            assert row.initializer == real[row.name].initializer, row.name


class TestTheory:
    def test_queries_keys_and_values_sum_a_normalized_signal(self) -> None:
        for kind, block in {
            "llama": "model.layers.1.self_attn.{}_proj.weight",
            "bart": "model.encoder.layers.1.self_attn.{}_proj.weight",
            "vit": "vit.layers.1.attention.{}_proj.weight",
            "whisper": "model.decoder.layers.1.encoder_attn.{}_proj.weight",
        }.items():
            made = planned(kind)
            for part in "qkv":
                assert std(made, block.format(part)) == pytest.approx(WIDTH**-0.5)
        assert std(planned("gpt2"), "transformer.h.0.attn.c_attn.weight") == pytest.approx(WIDTH**-0.5)

    def test_every_branch_adds_its_share_to_the_stream(self) -> None:
        made = planned("llama")
        branches = 2 * LAYERS
        assert std(made, "model.layers.0.self_attn.o_proj.weight") == pytest.approx(
            (branches * WIDTH) ** -0.5
        )
        # E[silu(z)²] = 0.3558 for a standard normal z, and the value branch has second moment 1.
        expected = (branches * 0.3557724 * 64) ** -0.5
        assert std(made, "model.layers.1.mlp.down_proj.weight") == pytest.approx(expected, rel=1e-4)

    def test_encoder_and_decoder_streams_are_counted_apart(self) -> None:
        made = planned("bart")
        encoder = std(made, "model.encoder.layers.0.self_attn.out_proj.weight")
        decoder = std(made, "model.decoder.layers.0.self_attn.out_proj.weight")
        assert encoder == pytest.approx((2 * LAYERS * WIDTH) ** -0.5)
        assert decoder == pytest.approx((3 * LAYERS * WIDTH) ** -0.5)

    def test_experts_have_the_fans_of_one_expert(self) -> None:
        made = planned("mixtral")
        row = made["model.layers.0.mlp.experts.gate_up_proj"]
        assert (row.fan_in, row.fan_out) == (WIDTH, 64)
        assert std(made, row.name) == pytest.approx(WIDTH**-0.5)

    def test_a_block_that_ends_in_a_normalization_needs_no_share(self) -> None:
        made = planned("gemma2")
        row = made["model.layers.0.self_attn.o_proj.weight"]
        assert row.initializer.std == pytest.approx(WIDTH**-0.5)
        assert "a normalization follows" in row.why


class TestLookups:
    def test_positions_match_the_tied_tokens_to_which_they_are_added(self) -> None:
        for kind, tokens, positions in (
            ("gpt2", "transformer.wte.weight", "transformer.wpe.weight"),
            ("bert", "bert.embeddings.word_embeddings.weight", "bert.embeddings.position_embeddings.weight"),
            ("whisper", "model.decoder.embed_tokens.weight", "model.decoder.embed_positions.weight"),
        ):
            made = planned(kind)
            assert std(made, tokens) == pytest.approx(WIDTH**-0.5)
            assert std(made, positions) == pytest.approx(std(made, tokens))
            assert "neither drowns the other" in made[positions].why

    def test_a_factor_before_the_tied_output_layer_counts(self) -> None:
        # T5 multiplies what its output layer reads by 1/√d, so unit embeddings give unit logits.
        assert std(planned("t5"), "shared.weight") == pytest.approx(1.0)

    def test_tables_of_relative_positions_hardly_move_attention(self) -> None:
        swin = [row for row in planned("swin") if "relative_position_bias_table" in row.name]
        t5 = [row for row in planned("t5") if "relative_attention_bias" in row.name]
        assert len(swin) == 4  # one for each layer
        assert len(t5) == 2  # the first layer's serves all, in the encoder and in the decoder
        rows = swin + t5
        assert all(row.initializer == Normal(0.0, 0.02) and "logits" in row.why for row in rows)


class TestUseBeyondTypes:
    def test_an_expert_that_got_no_token_follows_its_sibling(self) -> None:
        family = FAMILIES["switch_transformers"]
        model = family.model("switch_transformers", "meta")
        batch = {name: torch.ones(1, 4, dtype=torch.long) for name in pair()}
        unreached = set(trace(model, batch).unreached)
        made = plan(model, "auto", example=batch)
        experts = [row for row in made if ".experts." in row.name and row.name.endswith("wi.weight")]
        idle = [row for row in experts if row.name in unreached]
        assert idle  # otherwise this test shows nothing
        assert len({row.initializer for row in experts}) == 1
        assert all("judged by" in row.why for row in idle)

    def test_expert_biases_are_biases_though_they_are_looked_up(self) -> None:
        made = planned("gpt_oss")
        assert made["model.layers.0.mlp.experts.down_proj_bias"].initializer == Constant(0.0)

    def test_a_gain_to_which_one_is_added_starts_at_zero(self) -> None:
        made = planned("gemma2")
        assert made["model.norm.weight"].initializer == Constant(0.0)
        assert planned("llama")["model.norm.weight"].initializer == Constant(1.0)

    def test_a_gain_under_an_exponential_starts_at_zero_and_says_that_it_is_a_guess(self) -> None:
        row = planned("clip")["logit_scale"]
        assert row.initializer == Constant(0.0)
        assert "a guess, since on meta" in row.why
        real = planned("clip", "cpu")["logit_scale"]
        assert isinstance(real.initializer, Constant)
        assert real.initializer.value == pytest.approx(math.log(1 / 0.07), rel=1e-3)

    def test_layer_scale_on_meta_says_that_it_is_a_guess(self) -> None:
        row = next(row for row in planned("dinov2") if "lambda1" in row.name)
        assert row.initializer == Constant(1.0)
        assert "residual branch" in row.why and "a guess" in row.why  # noqa: PT018


class TestStateSpace:
    @pytest.mark.parametrize(("kind", "decay"), [("mamba", "A_log"), ("mamba2", "A_log"), ("rwkv", "decay")])
    def test_decays_that_the_author_set_stay(self, kind: str, decay: str) -> None:
        model = STATE_SPACE[kind].model(kind, "cpu")
        before = {name: value.detach().clone() for name, value in model.named_parameters() if decay in name}
        made = plan(model, "auto", example=STATE_SPACE[kind].example)
        made.apply_(model, seed=3)
        assert len(before) == LAYERS
        for name, value in before.items():
            assert isinstance(made[name].initializer, Keep)
            assert torch.equal(model.get_parameter(name), value)
        with torch.no_grad():
            assert bool(model(**ids()).logits.isfinite().all())

    @pytest.mark.parametrize("kind", ["mamba", "mamba2"])
    def test_step_sizes_that_the_author_set_stay(self, kind: str) -> None:
        made = planned(kind, "cpu")
        steps = [row for row in made if row.name.endswith(("dt_proj.bias", "dt_bias"))]
        assert len(steps) == LAYERS
        assert all(isinstance(row.initializer, Keep) for row in steps)

    @pytest.mark.parametrize(
        ("kind", "decay", "rates"),
        [
            ("mamba", "A_log", (1.0, 16.0)),
            ("mamba2", "A_log", (1.0, 16.0)),
            ("rwkv", "decay", (0.0067, 20.1)),
        ],
    )
    def test_on_meta_rates_are_chosen_as_the_field_does_and_called_a_guess(
        self, kind: str, decay: str, rates: tuple[float, float]
    ) -> None:
        rows = [row for row in planned(kind) if row.name.endswith(decay)]
        assert len(rows) == LAYERS
        for row in rows:
            assert isinstance(row.initializer, Uniform)
            assert math.exp(row.initializer.low) == pytest.approx(rates[0], rel=0.01)
            assert math.exp(row.initializer.high) == pytest.approx(rates[1], rel=0.01)
            assert "rate of a decay" in row.why
            assert "a guess" in row.why

    @pytest.mark.parametrize("kind", ["mamba", "mamba2"])
    def test_on_meta_step_sizes_are_small_and_of_different_sizes(self, kind: str) -> None:
        rows = [row for row in planned(kind) if row.name.endswith(("dt_proj.bias", "dt_bias"))]
        assert len(rows) == LAYERS
        for row in rows:
            assert isinstance(row.initializer, Uniform)
            ends = torch.tensor([row.initializer.low, row.initializer.high])
            steps = nn.functional.softplus(ends)
            assert torch.allclose(steps, torch.tensor([0.001, 0.1]), rtol=0.06)

    def test_a_mixture_of_two_signals_starts_half_and_half(self) -> None:
        row = planned("rwkv")["rwkv.blocks.0.attention.time_mix_key"]
        assert row.initializer == Constant(0.5)


def test_filled_weights_follow_the_plan_and_a_weight_that_is_too_wide_does_not() -> None:
    # verify's own false-alarm rate is at most 1e-6 for the whole model.
    model = FAMILIES["bart"].model("bart", "cpu")
    made = plan(model, "auto", example=pair)
    made.apply_(model, seed=5)
    assert made.verify(model).passed
    with torch.no_grad():
        model.get_parameter("model.encoder.layers.0.fc1.weight").mul_(1.3)
    assert not made.verify(model).passed
