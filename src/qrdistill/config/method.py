"""Settings of the method: what a path is worth (utilities), who is taught what (policies), how students teach each other (peers).

Every kind here is one class in `qrdistill.routing` or `qrdistill.training` and one entry in its registry. `METHODS` holds the
three named methods of the field; everything else is a combination of kinds.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from qrdistill.config.extras import PREFERENCES, ExtraConfig

Fraction = Annotated[float, Field(ge=0, le=1)]
FeatureName = Literal["nll_per_byte", "rank_surprisal", "brier_nll", "value_right", "log_tokens", "quality", "utility"]
"""The learning state of a path for a student; see `qrdistill.routing.features`."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


# --- utilities -----------------------------------------------------------------------------------------------------------


class SketchUtilityConfig(_Model):
    """Cosine of a path's last-layer gradient sketch with the validation paths' running mean (METHOD section 4)."""

    kind: Literal["sketch"] = "sketch"
    dim: int = Field(64, ge=8, le=512)
    """Width each factor of the gradient is hashed to."""
    top_tokens: int = Field(50, ge=1)
    """Columns of the softmax error that are kept, besides the label's."""
    decay: Fraction = 0.9
    """Decay of the running mean over validation paths, per probe."""


class ValueUtilityConfig(_Model):
    """Share of a style's paths whose answer-determining tokens a student all gets right under teacher forcing.

    Counted per student, style and task family on validation paths and on training paths before they are first trained on.
    """

    kind: Literal["value"] = "value"
    decay: Fraction = 0.99
    """Forgetting per optimizer step: old evidence fades as the student learns."""
    prior_strength: float = Field(8.0, gt=0)
    """Paths' worth of weight on the estimate from single tokens (see `qrdistill.routing.utility`)."""
    pooling: float = Field(20.0, ge=0)
    """Paths' worth of weight on what a style is worth in general, over all task families."""


class AlignUtilityConfig(_Model):
    """Cosine of a path's gradient sketch with that of validation paths of its own task family, and its mean per style."""

    kind: Literal["align"] = "align"
    dim: int = Field(64, ge=8, le=512)
    """Width each factor of the gradient is hashed to."""
    top_tokens: int = Field(50, ge=1)
    """Columns of the softmax error that are kept, besides the label's."""
    decay: Fraction = 0.9
    """Decay of the running means over validation paths, per probe."""
    group_decay: Fraction = 0.95
    """Forgetting per optimizer step of the cosines of each style."""


class RhoUtilityConfig(_Model):
    """Reducible loss l_now - l_reference; the reference student is taught the validation paths only, before the first step."""

    kind: Literal["rho"] = "rho"
    reference_epochs: int = Field(4, ge=1)
    """Passes over the validation paths that make the reference."""


class SuccessUtilityConfig(_Model):
    """Success rate of a student that begins its answer in a style, decoded on validation questions at every probe."""

    kind: Literal["success"] = "success"
    decay: Fraction = 0.98
    """Forgetting per optimizer step."""
    prior_strength: float = Field(4.0, gt=0)
    """Answers' worth of weight on the success over all styles of the family."""
    exploration: float = Field(0.5, ge=0)
    """Width of the bandit's upper confidence bound."""
    cue_words: int = Field(4, ge=1)
    """Words of a validation path of the style that the answer begins with."""
    max_new_tokens: int = Field(128, ge=1)
    path_weight: float = Field(0.1, ge=0)
    """Weight inside a style of the share of a path's values that come out right."""


UtilityConfig = Annotated[
    SketchUtilityConfig | ValueUtilityConfig | AlignUtilityConfig | RhoUtilityConfig | SuccessUtilityConfig,
    Field(discriminator="kind"),
]


# --- the router's text encoder -------------------------------------------------------------------------------------------


class PackageEncoderConfig(_Model):
    """all-MiniLM-L6-v2 from an ordinary Python package (384 dimensions)."""

    kind: Literal["package"] = "package"


class HubEncoderConfig(_Model):
    """Any sentence-transformers model: a hub id or a local folder."""

    kind: Literal["hub"] = "hub"
    id: str
    revision: str = "main"


class NgramEncoderConfig(_Model):
    """Hashed character n-grams: needs no model; for tests and as a cheap control."""

    kind: Literal["ngram"] = "ngram"
    dim: int = Field(256, ge=16, le=4096)


EncoderConfig = Annotated[PackageEncoderConfig | HubEncoderConfig | NgramEncoderConfig, Field(discriminator="kind")]


# --- policies ------------------------------------------------------------------------------------------------------------


class _Watching(_Model):
    """What policies that look at the students have in common."""

    utility: UtilityConfig = ValueUtilityConfig()
    """What a path is worth to a student; measured on held-out paths, never the training loss of the same batch."""
    probe_steps: int = Field(4, ge=1)
    """Every so many steps the students are probed on validation questions."""
    probe_questions: int = Field(2, ge=1)
    """Validation questions per probe (in rotation)."""
    first_probe_questions: int = Field(2, ge=1)
    """Validation questions of the probe before the first step, when nothing is known yet."""


class ReliabilityConfig(_Model):
    """The reliability gate: once an epoch the router is put to the test, and as far as it fails, paths are drawn at random."""

    is_on: bool = False
    bins: int = Field(5, ge=3, le=50)
    """Groups of paths, by the router's score, that one virtual step each is taken on."""
    questions: int = Field(8, ge=1)
    """Training questions whose paths are sorted into the bins."""
    validation_questions: int = Field(8, ge=1)
    """Validation questions on which the drop of the loss is measured."""


class _Router(_Watching):
    """Settings of the trained router."""

    budget: float = Field(3.0, gt=0)
    """Paths per question and student, in expectation (rho0 = budget / paths of the question, at most 1)."""
    temperature: float = Field(1.0, gt=0)
    epsilon: Fraction = 0.1
    """Exploration: p = (1 - epsilon) sigmoid(a / temperature + c) + epsilon rho0; c holds the question's budget."""
    learning_rate: float = Field(1e-2, gt=0)
    """Peak learning rate of the router's own AdamW."""
    hidden: int = Field(64, ge=4)
    weight_penalty: float = Field(1e-3, ge=0)
    """Penalty on squared gate logits, keeps gates away from saturation."""
    warmup_frac: Fraction = 0.1
    """Share of the steps with p = rho0 (random subsets) while the router only learns."""
    encoder: EncoderConfig = PackageEncoderConfig()
    """Frozen text encoder of questions and paths."""
    reliability: ReliabilityConfig = ReliabilityConfig()
    """kappa, once per epoch and student: p becomes max(kappa, 0) p + (1 - max(kappa, 0)) rho0."""


class QRDistillPolicyConfig(_Router):
    """The default: a trained router with independent Bernoulli gates per path and student."""

    kind: Literal["qrdistill"] = "qrdistill"


class FrozenRouterPolicyConfig(_Router):
    """A router trained in another run, which learns no more: fresh gates are drawn from its probabilities."""

    kind: Literal["frozen_router"] = "frozen_router"
    run: str
    """Folder of the finished run whose router.safetensors is read; encoder, hidden and students must be that run's."""


class FrozenPolicyConfig(_Model):
    """Replay of another run's routes, path by path and epoch by epoch: who saw what is held fixed."""

    kind: Literal["frozen"] = "frozen"
    run: str
    """Folder of a run whose train stage is done, on the same paths and students."""


class ScorePolicyConfig(_Watching):
    """No router: each question's top-budget paths by a fixed sum of learning-state features."""

    kind: Literal["score"] = "score"
    budget: float = Field(3.0, gt=0)
    """Paths per question and student; a fraction is drawn."""
    weights: dict[FeatureName, float] = {"utility": 1.0}
    """Weight of each feature, z-scored within the question (rank_surprisal: -1.0 takes likely-ranked, surprising paths)."""
    warmup_frac: Fraction = 0.1
    """Share of the steps with random subsets, before the features mean anything."""


class AllPolicyConfig(_Model):
    """Every kept path goes to every student (plain multi-path SFT)."""

    kind: Literal["all"] = "all"


class RandomPolicyConfig(_Model):
    """A fresh random subset of each question's paths every epoch (RS2): the honest baseline."""

    kind: Literal["random"] = "random"
    budget: float = Field(3.0, gt=0)


class SinglePathPolicyConfig(_Model):
    """One style only; where a question lacks it, the question is skipped."""

    kind: Literal["single_path"] = "single_path"
    style: str = "cot"


class ByStylePolicyConfig(_Model):
    """A fixed table: each style goes to the students named for it, a style that is not named to nobody."""

    kind: Literal["by_style"] = "by_style"
    table: dict[str, tuple[str, ...]] = Field(min_length=1)
    """Style -> names of students, for example {cot: [llama], fact: [llama, gemma]}."""


class PaperPolicyConfig(_Model):
    """The paper's router as its text intends: independent straight-through Gumbel gates, entropy maximised."""

    kind: Literal["paper"] = "paper"
    entropy_weight: float = Field(0.01, ge=0)
    """lambda1 of eq 9."""
    temperature: float = Field(1.0, gt=0)
    """tau of the Gumbel gates."""
    learning_rate: float = Field(1e-3, gt=0)
    hidden: int = Field(64, ge=4)
    encoder: EncoderConfig = PackageEncoderConfig()


class ReleasedPolicyConfig(_Model):
    """What the authors' code does: a random drop of rows by a router that receives no gradient."""

    kind: Literal["released"] = "released"
    drop_frac: Fraction = 0.25
    """Share of (path, student) rows that are dropped."""
    hidden: int = Field(64, ge=4)
    encoder: EncoderConfig = PackageEncoderConfig()


PolicyConfig = Annotated[
    QRDistillPolicyConfig
    | PaperPolicyConfig
    | ReleasedPolicyConfig
    | ScorePolicyConfig
    | AllPolicyConfig
    | RandomPolicyConfig
    | SinglePathPolicyConfig
    | ByStylePolicyConfig
    | FrozenPolicyConfig
    | FrozenRouterPolicyConfig,
    Field(discriminator="kind"),
]


# --- peers ---------------------------------------------------------------------------------------------------------------


class PeerConfig(_Model):
    """Students teach each other's next-piece distributions at text positions that are token boundaries for all of them."""

    kind: Literal["text"] = "text"
    weight: float = Field(0.2, ge=0)
    """lambda; 0 switches peers off."""
    warmup_frac: Fraction = 0.2
    """Share of the steps without the peer loss."""
    ramp: Literal["linear", "constant"] = "linear"
    """After the warm-up lambda rises linearly to the last step, or is there at once."""
    support: int = Field(64, ge=2, le=4096)
    """Next pieces both tokenizers share that are compared, by the peers' probability; the rest is "other"."""
    max_paths: int = Field(4, ge=1)
    """Paths per step that every student reads so that peers can meet there, drawn from the routed ones."""
    max_positions: int = Field(128, ge=1)
    """Aligned positions per step that are compared, drawn at random (each costs a row of logits per student)."""


class FeaturePeerConfig(_Model):
    """The paper's peer loss on projected hidden states (eq 5-8); the defaults are the form that cannot collapse."""

    kind: Literal["feature"] = "feature"
    weight: float = Field(0.2, ge=0)
    """lambda2; 0 switches peers off."""
    warmup_frac: Fraction = 0.2
    """Share of the steps without the peer loss."""
    ramp: Literal["linear", "constant"] = "linear"
    """After the warm-up lambda rises linearly to the last step, or is there at once."""
    dim: int = Field(128, ge=2, le=4096)
    """Width of the shared space (at most the width of the narrowest student)."""
    projection: Literal["orthogonal", "trainable", "random"] = "orthogonal"
    """Fixed orthonormal rows; learned from the peer loss (can collapse); or a fixed Gaussian matrix."""
    positions: Literal["text", "index"] = "text"
    """Where students are compared: at shared text positions, or at the same token index, padding and unrouted rows as zeros."""
    target: Literal["leave_one_out", "ensemble"] = "leave_one_out"
    """The peers alone, or everybody weighted by competence (eq 6-7)."""
    is_target_detached: bool = True
    """Whether the target gets no gradient."""
    is_normalised: bool = True
    """Whether rows are compared at unit length (1 - cosine) or by squared distance."""
    learning_rate: float = Field(1e-3, gt=0)
    """Of trainable projections and competence heads."""
    max_paths: int = Field(4, ge=1)
    """Paths per step that every student reads so that peers can meet there, drawn from the routed ones."""
    max_positions: int = Field(1024, ge=1)
    """Positions per step that are compared, drawn at random."""


def _kind_of_peers(value: Any) -> str:
    """Peers without a kind are "text", the default."""
    return str(value.get("kind", "text") if isinstance(value, dict) else value.kind)


PeersConfig = Annotated[
    Annotated[PeerConfig, Tag("text")] | Annotated[FeaturePeerConfig, Tag("feature")], Discriminator(_kind_of_peers)
]


class MethodConfig(_Model):
    """Routing and collaboration."""

    policy: PolicyConfig = QRDistillPolicyConfig()
    peers: PeersConfig = PeerConfig()
    training_prompt: Literal["plain", "style"] = "plain"
    """Prompt that training paths stand behind: the plain test-time one, or the one the teacher got for the path's style."""
    extras: tuple[ExtraConfig, ...] = ()
    """Optional stages: own_samples, pass_rate, orpo or dpo."""

    @model_validator(mode="after")
    def _extras_go_together(self) -> MethodConfig:
        kinds = [extra.kind for extra in self.extras]
        if twice := sorted({kind for kind in kinds if kinds.count(kind) > 1}):
            raise ValueError(f"extras: {twice[0]!r} stands twice; list it once")
        if all(kind in kinds for kind in PREFERENCES):
            raise ValueError("extras: orpo and dpo are two forms of the same final epoch; list one of them")
        return self


_PAPER_PEERS = FeaturePeerConfig(
    weight=0.1, warmup_frac=0.0, ramp="constant", target="ensemble", is_normalised=False, max_paths=4096, max_positions=4096
)
METHODS: dict[str, MethodConfig] = {
    "qrdistill": MethodConfig(),
    "paper": MethodConfig(
        policy=PaperPolicyConfig(),
        peers=_PAPER_PEERS.model_copy(update={"projection": "trainable", "is_target_detached": False}),
    ),
    "released": MethodConfig(
        policy=ReleasedPolicyConfig(),
        peers=_PAPER_PEERS.model_copy(update={"projection": "random", "positions": "index"}),
        training_prompt="style",
    ),
}
"""The named methods (METHOD section 3)."""
