"""A world small enough to know the truth: two linear students, five styles of paths, one token-level task for each student.

A token is an input x of 12 numbers with a label. Student "a" sees the first six numbers, "b" the last six. Each has a true rule.

==========  ============================================================================================
for_a       labels follow a's rule (for b they are noise)
for_b       labels follow b's rule (for a they are noise)
trivial     one loud input, always the same label: learned at once, teaches nothing
random      labels are drawn
wrong       labels are a's and b's rule plus one, half and half
==========  ============================================================================================

Everything but the transformer is the library's own: sketches, utilities, learning state, router, policy, token weights.

Shapes: P paths, S students, N tokens, D width of a student's view, V labels.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from qrdistill.config.method import AlignUtilityConfig, QRDistillPolicyConfig
from qrdistill.losses import token_nll, token_weights
from qrdistill.routing.features import StateMemory, path_state
from qrdistill.routing.learned import QRDistillPolicy
from qrdistill.routing.policy import Evidence, Setting, StepView, budget_share
from qrdistill.routing.reliability import equal_bins, kappa
from qrdistill.routing.seen import Seen
from qrdistill.routing.sketch import GradientSketch
from qrdistill.routing.utility import make_utility

STYLES = ("for_a", "for_b", "trivial", "random", "wrong")
TOKENS, LABELS, VIEW = 6, 4, 6


@dataclass
class World:
    """Students, router and data of one seed."""

    seed: int
    is_shuffled: bool = False
    """Validation labels are drawn at random: no utility can know anything."""
    sign: float = 1.0
    """-1 turns every utility around."""
    sees_students: bool = True
    """False: the router gets no learning state, only text."""
    styles: tuple[str, ...] = STYLES
    names: dict[str, str] = field(default_factory=dict)
    """What a style's paths really are, where it is not their name."""
    learning_rate: float = 0.3

    def __post_init__(self) -> None:
        self.generator = torch.Generator().manual_seed(self.seed)
        self.rules = [torch.randn(LABELS, VIEW, generator=self.generator) for _ in range(2)]
        self.students = [torch.zeros(LABELS, VIEW) for _ in range(2)]
        groups = [(style, "task") for style in self.styles]
        self.utility = make_utility(AlignUtilityConfig(dim=16, top_tokens=4, group_decay=0.9), num_students=2, groups=groups)
        self.memory = StateMemory(num_students=2, groups=groups, decay=0.9)
        self.sketches = [GradientSketch(hidden_dim=VIEW, vocabulary=LABELS, dim=16, top_tokens=4, seed=seed) for seed in range(2)]
        self.policy = QRDistillPolicy(
            QRDistillPolicyConfig(budget=1, hidden=16, warmup_frac=0.2, learning_rate=1e-2, epsilon=0.05),
            Setting(students=("a", "b"), embed_dim=8, seed=self.seed),
        )

    # --- data ------------------------------------------------------------------------------------------------------------

    def views(self, input_NX: Tensor) -> list[Tensor]:
        return [input_NX[:, :VIEW], input_NX[:, VIEW:]]

    def truth(self, input_NX: Tensor, student: int) -> Tensor:
        return (self.views(input_NX)[student] @ self.rules[student].T).argmax(dim=1)

    def path(self, style: str) -> tuple[Tensor, Tensor]:
        kind = self.names.get(style, style)
        x = torch.randn(TOKENS, 2 * VIEW, generator=self.generator)
        drawn = torch.randint(LABELS, (TOKENS,), generator=self.generator)
        if kind == "trivial":
            return torch.full((TOKENS, 2 * VIEW), 2.0), torch.zeros(TOKENS, dtype=torch.long)
        if kind == "wrong":
            is_a = torch.arange(TOKENS) % 2 == 0
            return x, (torch.where(is_a, self.truth(x, 0), self.truth(x, 1)) + 1) % LABELS
        return x, {"for_a": self.truth(x, 0), "for_b": self.truth(x, 1), "random": drawn}[kind]

    def validation(self) -> tuple[list[str], list[tuple[Tensor, Tensor]]]:
        """Correct paths only, of questions that are never trained on."""
        styles = [style for style in self.styles if self.names.get(style, style) in ("for_a", "for_b")] * 4
        paths = [self.path(style) for style in styles]
        if self.is_shuffled:
            paths = [(x, torch.randint(LABELS, y.shape, generator=self.generator)) for x, y in paths]
        return styles, paths

    # --- what the library sees -------------------------------------------------------------------------------------------

    def seen(self, styles: list[str], paths: list[tuple[Tensor, Tensor]]) -> Seen:
        input_NX, label_N = torch.cat([x for x, _ in paths]), torch.cat([y for _, y in paths])
        owner_N = torch.arange(len(paths)).repeat_interleave(TOKENS)
        states, sketches = [], []
        for weight, view, sketch in zip(self.students, self.views(input_NX), self.sketches, strict=True):
            logits = view @ weight.T
            gold = logits.gather(1, label_N[:, None])
            rank = 1.0 + (logits > gold).sum(dim=1)
            prob = logits.softmax(dim=1)
            gold_prob = prob.gather(1, label_N[:, None]).squeeze(1)
            brier = 1 - 2 * gold_prob + prob.square().sum(dim=1)
            states.append(
                path_state(token_nll(logits, label_N), rank, brier, torch.ones_like(label_N).bool(), owner_N, len(paths))
            )
            top, column = prob.topk(sketch.top_tokens, dim=1)
            sketches.append(sketch.paths(*sketch.tokens(column, top, gold_prob, label_N, view), owner_N, len(paths)))
        families, ids = ("task",) * len(paths), tuple(map(str, range(len(paths))))
        return Seen(styles=tuple(styles), families=families, path_ids=ids, states=states, sketches=sketches)

    def view(self, styles: list[str], *, step: int, progress: float) -> StepView:
        count = len(styles)
        question_of_P = torch.arange(count) // len(self.styles)
        one_hot = torch.eye(8)[[self.styles.index(style) for style in styles]]
        families = ["task"] * count
        state = self.memory.features(
            self.memory.groups(styles, families),
            tokens_PS=torch.full((count, 2), float(TOKENS)),
            quality_P=torch.ones(count),
            utility_PS=self.sign * self.utility.expect(styles, families),
            question_of_P=question_of_P,
        )
        return StepView(
            step=step,
            progress=progress,
            styles=tuple(styles),
            question_of_P=question_of_P,
            question_PE=torch.randn(count, 8, generator=self.generator),
            path_PE=one_hot + 0.1 * torch.randn(count, 8, generator=self.generator),
            state_PSF=state if self.sees_students else torch.zeros_like(state),
        )

    # --- training --------------------------------------------------------------------------------------------------------

    def step(self, step: int, num_steps: int, *, route: str = "router", learn: str = "utility", questions: int = 4) -> Tensor:
        """One joint step; returns the gate probabilities [P, S]."""
        if step:
            self.utility.advance()
            self.memory.advance()
        styles, paths = self.validation()
        probe = self.seen(styles, paths)
        self.utility.witness(probe)
        rows = list(self.styles) * questions
        paths = [self.path(style) for style in rows]
        shown = self.seen(rows, paths)
        view = self.view(rows, step=step, progress=step / num_steps)
        routing = self.policy.route(view)
        gate_PS = routing.gate_PS
        if route == "random":
            rho0 = budget_share(view.question_of_P, 1.0)[:, None]
            gate_PS = torch.rand(gate_PS.shape, generator=self.generator) < rho0
        nll_PS = torch.stack([state.nll_P for state in shown.states], dim=1)
        tokens_PS = torch.full_like(nll_PS, float(TOKENS))
        utility_PS = self.sign * self.utility.score(shown) if learn == "utility" else -nll_PS
        evidence = Evidence(utility_PS=utility_PS, nll_PS=nll_PS, tokens_PS=tokens_PS, quality_P=torch.ones(len(rows)))
        self.policy.learn(view, evidence)
        self.memory.witness(self.memory.groups(rows, ["task"] * len(rows)), shown.states, torch.full((len(rows),), 6.0))
        for student in range(2):
            self.train(student, paths, gate_PS[:, student].float())
        return routing.prob_PS

    def train(self, student: int, paths: list[tuple[Tensor, Tensor]], weight_P: Tensor) -> None:
        input_NX, label_N = torch.cat([x for x, _ in paths]), torch.cat([y for _, y in paths])
        weight_N = token_weights(weight_P, torch.arange(len(paths)).repeat_interleave(TOKENS))
        parameter = self.students[student].clone().requires_grad_()
        loss = (weight_N * token_nll(self.views(input_NX)[student] @ parameter.T, label_N)).sum()
        (gradient,) = torch.autograd.grad(loss, parameter)
        self.students[student] = self.students[student] - self.learning_rate * gradient

    def run(self, num_steps: int, **how: str) -> Tensor:
        probs = [self.step(step, num_steps, **how) for step in range(num_steps)]
        return torch.stack(probs[-20:]).reshape(-1, len(self.styles), 2).mean(dim=0)

    # --- judgement -------------------------------------------------------------------------------------------------------

    def accuracy(self) -> float:
        """Mean accuracy of the two students on fresh inputs, each by its own rule."""
        x = torch.randn(2000, 2 * VIEW, generator=torch.Generator().manual_seed(999))
        right = [
            (self.views(x)[student] @ self.students[student].T).argmax(dim=1) == self.truth(x, student) for student in range(2)
        ]
        return float(torch.stack(right).float().mean())

    def auc(self, probs: int = 40) -> float:
        """Chance that a useful path's gate is likelier than another's, over fresh paths and both students."""
        wins = []
        for number in range(probs):
            rows = list(self.styles)
            prob_PS = self.policy.route(self.view(rows, step=10_000 + number, progress=1.0)).prob_PS
            for student, useful in enumerate(("for_a", "for_b")):
                mine = prob_PS[rows.index(useful), student]
                others = [prob_PS[row, student] for row, style in enumerate(rows) if style != useful]
                wins += [float(mine > other) + 0.5 * float(mine == other) for other in others]
        return sum(wins) / len(wins)

    def kappa(self, student: int, bins: int = 5, questions: int = 20) -> float:
        """Kappa of the router's scores against virtual steps and fresh validation inputs with true labels."""
        rows = list(self.styles) * questions
        paths = [self.path(style) for style in rows]
        score_P = self.policy.scores(self.view(rows, step=0, progress=1.0))[:, student]
        x = torch.randn(500, 2 * VIEW, generator=self.generator)
        label = self.truth(x, student)

        def loss(weight: Tensor) -> float:
            return float(token_nll(self.views(x)[student] @ weight.T, label).mean())

        kept, scores, drops = self.students[student], [], []
        for chosen in equal_bins(score_P, bins):
            weight_P = torch.zeros(len(rows))
            weight_P[chosen] = 1.0
            self.train(student, paths, weight_P)
            scores.append(score_P[chosen].mean())
            drops.append(loss(kept) - loss(self.students[student]))
            self.students[student] = kept
        return kappa(torch.stack(scores), torch.tensor(drops))
