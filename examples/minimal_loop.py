"""The whole default method on one flat page: no packing, no threads, no checkpoints, no chunks; one path at a time.

    python examples/minimal_loop.py RUN      (a run whose filter stage is done: qrdistill run RECIPE -o RUN --until filter)

A test holds it equal to `qrdistill.training`, which does the same faster. What it takes from the library is data (kept paths,
their tokens, shared text positions), the router's module and the seeds of the draws.
"""

import math
import sys

import torch

from qrdistill import Run
from qrdistill.routing.encoder import encode
from qrdistill.routing.objective import within_share
from qrdistill.routing.policies import make_policy
from qrdistill.routing.policy import Setting, step_generator
from qrdistill.students import Student
from qrdistill.students.align import shared_pieces
from qrdistill.training.pool import family, load_pool
from qrdistill.training.team import load_team


def zscore(values, question):
    """Standardise [P, ...] among the paths of each question; NaN stays NaN, equal values become 0."""
    result = torch.full_like(values, torch.nan)
    for rows in (question == number for number in question.unique()):
        mean = values[rows].nanmean(dim=0)
        gap = values[rows] - mean
        scale = gap.square().nanmean(dim=0).sqrt()
        is_flat = scale <= 1e-6 * mean.abs().clamp(min=1e-6)
        result[rows] = torch.where(is_flat, gap * 0, gap / scale.clamp(min=1e-12))
    return result


def look(student, path, index):
    """Logits of a path's tokens behind the plain prompt, their losses, and what the student showed: six sums over tokens."""
    tokens = path.tokens[index]
    ids = torch.tensor([[*tokens.prompt_ids, *tokens.response_ids[:-1]]])
    logits = student.model(input_ids=ids, use_cache=False).logits[0, len(tokens.prompt_ids) - 1 :].float()
    of_label = logits.gather(1, torch.tensor(tokens.response_ids)[:, None])
    nll = logits.logsumexp(dim=1) - of_label.squeeze(1)
    with torch.no_grad():
        rank = 1 + (logits > of_label).sum(dim=1)
        brier = 1 - 2 * (-nll).exp() + logits.softmax(dim=1).square().sum(dim=1)
        inside = [any(start < stop and end > first for first, stop in path.value_spans) for start, end in tokens.response_offsets]
        is_value = torch.tensor(inside)
        sums = [nll.sum(), rank.clamp(max=100).sum(), brier.sum(), ((rank == 1) & is_value).sum(), is_value.sum()]
    return logits, nll, torch.stack([number.detach().float() for number in sums])


def train_flat(run: Run) -> tuple[list[Student], list[dict]]:
    """Train a run's students together; returns them and the gates of every step by (path id, student)."""
    config, seed = run.config, run.config.seed
    policy, peers, training = config.method.policy, config.method.peers, config.training
    students = load_team(config)
    names, pieces = tuple(student.name for student in students), shared_pieces(students)
    pool, probes = load_pool(run, students)
    groups = sorted({(path.path.style, family(q.question)) for q in [*pool, *probes] for path in q.paths})
    texts = {q.question.id: q.prompt for q in pool} | {path.path.id: path.path.text for q in pool for path in q.paths}
    code = dict(zip(texts, encode(list(texts.values()), policy.encoder, run.folder / "cache"), strict=True))
    width = len(next(iter(code.values())))
    router = make_policy(policy, Setting(students=names, seed=seed, embed_dim=width)).router
    router_optimizer = torch.optim.AdamW(router.parameters(), lr=policy.learning_rate, weight_decay=0.0)
    weights = [[weight for _, weight in student.trainable()] for student in students]
    optimizers = [torch.optim.AdamW(each, weight_decay=training.weight_decay) for each in weights]
    shown = torch.zeros(len(students), len(groups), 5)  # learning state: paths, nll/byte, rank/nll, brier/nll, right values
    value = torch.zeros(len(students), len(groups), 4)  # utility: paths, wholly right ones, value tokens, right ones
    size, history = training.questions_per_step, []
    per_epoch = math.ceil(len(pool) / size)
    num_steps = per_epoch * training.epochs

    def witness(student, path, question, sums, *, is_evidence):
        group = groups.index((path.path.style, family(question)))
        nll, rank, brier, right, values = sums.clamp(min=torch.tensor([1e-6, 0, 0, 0, 0])).tolist()
        per_byte = nll / len(path.path.text.encode())
        shown[student, group] += torch.tensor([1.0, per_byte, rank / nll, brier / nll, right / max(values, 1)])
        if is_evidence:
            value[student, group] += torch.tensor([values > 0, right == values > 0, values, right], dtype=torch.float)

    def pooled(odds, part):
        is_same = torch.tensor([[float(one[part] == other[part]) for one in groups] for other in groups])
        return (odds.nan_to_num() @ is_same) / ((~odds.isnan()).float() @ is_same)

    for step in range(num_steps):
        progress, (epoch, place) = step / num_steps, divmod(step, per_epoch)
        order = torch.randperm(len(pool), generator=step_generator(seed, "order", epoch)).tolist()
        questions = [pool[i] for i in order[place * size : (place + 1) * size]]
        paths = [path for q in questions for path in q.paths]
        owner = [q.question for q in questions for _ in q.paths]
        question = torch.tensor([number for number, q in enumerate(questions) for _ in q.paths])
        quality = torch.tensor([path.quality for path in paths])

        # 1. evidence fades, and validation questions say what each student can do now
        if step:
            shown *= 0.95
            value *= policy.utility.decay
        turn = torch.randperm(len(probes), generator=step_generator(seed, "probe", 0)).tolist()
        count = policy.probe_questions if step else min(policy.first_probe_questions, len(probes))
        first = policy.first_probe_questions + (step // policy.probe_steps - 1) * count if step else 0
        for number in range(first, first + count) if step % policy.probe_steps == 0 else ():
            probe = probes[turn[number % len(turn)]]
            for index, student, path in ((i, s, path) for path in probe.paths for i, s in enumerate(students)):
                with torch.no_grad():
                    witness(index, path, probe.question, look(student, path, index)[2], is_evidence=True)

        # 2. learning state u and utility r of this step's paths, from what their like showed
        group = torch.tensor([groups.index((path.path.style, family(q))) for path, q in zip(paths, owner, strict=True)])
        seen, right, tokens, right_tokens = value.unbind(dim=2)
        prior = ((right_tokens + 0.5) / (tokens + 1.0)) ** (tokens / seen.clamp(min=1e-6))
        rate = (right + policy.utility.prior_strength * prior) / (seen + policy.utility.prior_strength)
        odds = torch.where(seen > 0, rate.clamp(1e-3, 1 - 1e-3).logit(), torch.nan)
        general = pooled(odds, 1)
        general = general + pooled(odds - general, 0)
        trust = seen / (seen + policy.utility.pooling).clamp(min=1e-6)
        utility = torch.sigmoid(general + trust * (odds - general))[:, group].T
        mean = torch.where(shown[..., :1] > 1e-6, shown[..., 1:] / shown[..., :1].clamp(min=1e-6), torch.nan)
        length = torch.tensor([[float(len(tokens.response_ids)) for tokens in path.tokens] for path in paths]).log()
        known = torch.stack([length, quality[:, None].expand_as(length), utility], dim=-1)
        state = zscore(torch.cat([mean[:, group].transpose(0, 1), known], dim=-1), question).nan_to_num().clamp(-3, 3)

        # 3. gates: p = (1 - eps) sigmoid(a / tau + c) + eps rho0, drawn before anybody reads
        target = (policy.budget / torch.bincount(question)[question].float()).clamp(max=1.0)
        logit = router(torch.stack([code[q.id] for q in owner]), torch.stack([code[path.path.id] for path in paths]), state)
        share = within_share(logit / policy.temperature, target, question)
        prob = (1 - policy.epsilon) * share + policy.epsilon * target[:, None]
        drawn_from = target[:, None].expand_as(prob) if progress < policy.warmup_frac else prob.detach()
        gate = torch.rand(prob.shape, generator=step_generator(seed, "gates", step)) < drawn_from
        history.append({(path.path.id, name): bool(gate[p, i]) for p, path in enumerate(paths) for i, name in enumerate(names)})

        # 4. every student reads its paths, and with peers a few that all read
        peer_weight = peers.weight * max((progress - peers.warmup_frac) / max(1 - peers.warmup_frac, 1e-9), 0.0)
        routed = gate.any(dim=1).nonzero().squeeze(1)
        mixed = routed[torch.randperm(len(routed), generator=step_generator(seed, "shared", step))].tolist()
        meeting = sorted(mixed[: peers.max_paths] if peer_weight else [])
        wanted = [[p for p in range(len(paths)) if gate[p, i] or p in meeting] for i in range(len(students))]
        views = [{p: look(s, paths[p], i) for p in wanted[i]} for i, s in enumerate(students)]

        # 5. the students' own loss: token losses of routed paths, weighted by quality, divided once by their weighted number
        losses = []
        for index, view in enumerate(views):
            total = sum(float(quality[p]) * len(view[p][1]) for p in view if gate[p, index])
            losses.append(sum((quality[p] / total * view[p][1].sum() for p in view if gate[p, index]), torch.zeros(())))

        # 6. peers: where the others are better at a shared text position, match their mixture over shared pieces
        places = []
        for p, path in ((p, paths[p]) for p in meeting):
            ends = [*path.aligned[1:], tuple(len(tokens.response_ids) - 1 for tokens in path.tokens)]
            starts = [start for start, _ in path.tokens[0].response_offsets]
            for here, there in zip(path.aligned, ends, strict=True):
                span = path.path.text[starts[here[0]] : starts[there[0]]]
                places.append((p, here, there, max(len(span.encode()), 1)))
        kept = torch.randperm(len(places), generator=step_generator(seed, "meet", step))[: peers.max_positions].sort().values
        terms = [[] for _ in students]
        for p, here, there, num_bytes in (places[k] for k in kept.tolist()):
            nll = [float(view[p][1][here[i] : there[i]].detach().sum()) / num_bytes for i, view in enumerate(views)]
            logs = [view[p][0][here[i]].log_softmax(dim=0)[pieces[i]] for i, view in enumerate(views)]
            tops = [log.detach().exp().topk(min(peers.support, len(log))) for log in logs]
            for index, log in enumerate(logs):
                others = [other for other in range(len(students)) if other != index]
                if sum(nll[other] for other in others) / len(others) >= nll[index]:
                    continue
                mixture = torch.zeros(len(log))
                for other in others:
                    mixture[tops[other].indices] += tops[other].values / len(others)
                top, piece = mixture.topk(min(peers.support, len(log)))
                wish = torch.cat([top, (1 - top.sum(dim=0, keepdim=True)).clamp(min=0)])
                wish = wish / wish.sum()
                mine = torch.cat([log[piece], (1 - log[piece].exp().sum(dim=0, keepdim=True)).clamp(min=1e-6).log()])
                terms[index].append((torch.special.xlogy(wish, wish) - wish * mine).sum())

        # 7. each student steps on its own AdamW; one that has nothing to learn takes no step
        warmup = max(round(training.warmup_frac * num_steps), 1)
        cosine = 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(num_steps - warmup, 1)))
        factor = (step + 1) / warmup if step < warmup else training.final_lr_frac + (1 - training.final_lr_frac) * cosine
        for student, optimizer, each, loss, term in zip(students, optimizers, weights, losses, terms, strict=True):
            loss = loss + peer_weight * torch.stack(term).mean() if term else loss
            optimizer.param_groups[0]["lr"] = student.config.learning_rate * factor
            optimizer.zero_grad()
            if loss.requires_grad:
                loss.backward()
                torch.nn.utils.clip_grad_norm_(each, training.max_grad_norm)
                optimizer.step()

        # 8. what was seen becomes evidence; the router steps on - mean(A p) + c mean(a^2)
        for index, p in ((i, p) for i, view in enumerate(views) for p in view):
            witness(index, paths[p], owner[p], views[index][p][2], is_evidence=epoch == 0)
        advantage = zscore(utility, question)
        gain = (torch.nan_to_num(advantage) * prob).sum() / (~advantage.isnan()).sum().clamp(min=1)
        router_optimizer.zero_grad()
        (policy.weight_penalty * logit.square().mean() - gain).backward()
        torch.nn.utils.clip_grad_norm_(router.parameters(), 1.0)
        router_optimizer.step()
    return students, history


if __name__ == "__main__":
    for trained in train_flat(Run(sys.argv[1]))[0]:
        print(trained)
