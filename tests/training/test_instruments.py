"""What a training measures is what the report draws: no curve waits for a name that nobody writes, no alarm goes unsaid."""

import json

from qrdistill.report.reading import metrics
from qrdistill.report.sections.training import CURVES, alarms, training_section
from qrdistill.training.loop import train


def test_every_curve_of_the_report_is_written_by_a_training_with_every_instrument_on(toy_run):
    policy = {"kind": "qrdistill", "budget": 2, "encoder": {"kind": "ngram", "dim": 32}, "hidden": 8, "probe_steps": 1}
    policy |= {"warmup_frac": 0.0, "reliability": {"is_on": True, "bins": 3}}
    run = toy_run(training={"questions_per_step": 2, "checkpoint_steps": 9, "epochs": 2}, method__policy=policy)
    train(run)
    found = metrics(run)
    curves = [curve.metric for group in CURVES.values() for curve in group]
    assert [metric for metric in curves if not found.keys(metric)] == []
    drawn = [figure.title for block in training_section(run).blocks if hasattr(block, "figures") for figure in block.figures]
    assert len(drawn) == len(curves)


def test_an_alarm_is_said_with_how_often_and_since_when(toy_run):
    run = toy_run()
    with run.metrics.open("w") as file:
        for step in range(1, 6):
            line = {
                "step": step,
                "alarm/collapse": float(step in (3, 4)),
                "alarm/idle/llama": float(step == 5),
                "loss/sft/llama": 1,
            }
            file.write(json.dumps(line) + "\n")
    found = metrics(run)
    assert alarms(found) == [
        "Alarm, collapse: at 2 of 5 steps, first at step 3.",
        "Alarm, idle of llama: at 1 of 5 steps, first at step 5.",
    ]
    said = [block.text for block in training_section(run).blocks if getattr(block, "tone", "") == "warning"]
    assert said == alarms(found)
    run.metrics.write_text(json.dumps({"step": 1, "alarm/collapse": 0.0, "loss/sft/llama": 1}) + "\n")
    assert alarms(metrics(run)) == []
