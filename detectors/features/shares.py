"""What an entity asks for: intents, lengths, logits, abilities."""

from __future__ import annotations

from detectors.features.parts import MIN_EXCHANGES, Counts, Found, floor, part


def shares(week: Counts) -> Found:
    """Shares of the exchanges that were answered with text, by what was asked and how long it was."""
    generated = week["generated"]
    of = {
        "single_turn_ratio": "single_turn",
        "mean_turn_depth": "depth",
        "output_tokens_mean": "output_tokens",
        "input_tokens_mean": "input_tokens",
        "logprobs_share": "logprobs",
        "logit_bias_share": "biased",
        "samples_mean": "samples",
        "elicitation_share": "elicit",
        "answer_supplied_share": "supplied",
        "judge_share": "judge",
        "task_generation_share": "generate",
        "rewrite_share": "rewrite",
        "refusal_rate": "refused",
        "valuable_share": "valuable",
        "reasoning_share": "reasoning",
        "tool_share": "tools",
    }
    out: Found = {name: part(week[counter], generated) for name, counter in of.items()}
    has_input = generated >= MIN_EXCHANGES and week["input_tokens"] > 0
    out["output_input_ratio"] = week["output_tokens"] / week["input_tokens"] if has_input else None
    out["max_tokens_hugging"] = part(week["hugging"], week["capped"])
    out["answer_tag_share"] = part(week["tagged_answer"], week["answers_seen"])
    out["elicitation_floor"] = floor(week["elicit"], generated)
    out["answer_supplied_floor"] = floor(week["supplied"], generated)
    out["judge_floor"] = floor(week["judge"], generated)
    out["task_generation_floor"] = floor(week["generate"], generated)
    out["rewrite_floor"] = floor(week["rewrite"], generated)
    out["answers_supplied"] = week["supplied"]
    out["constant_forced_answers"] = week["forced_constant"]
    out["judged_near_share"] = part(week["judge_near"], week["judge"])
    out["thinking_hugging"] = part(week["budget_hugged"], week["budgeted"])
    return out


def abilities(week: Counts) -> Found:
    """Which abilities are drawn on, and constant demands for reasoning."""
    generated = week["generated"]
    classes = ("code", "maths", "tools", "graded", "made", "text", "extract")
    return {
        "code_share": part(week["code"], generated),
        "maths_share": part(week["maths"], generated),
        "ability_concentration": part(max(week[name] for name in classes), generated),
        "thinking_share": week["reasoning_tokens"] / week["output_tokens"]
        if generated >= MIN_EXCHANGES and week["output_tokens"] > 0
        else None,
        "forced_answer_share": part(week["forced_answer"], week["answers_seen"]),
        "constant_elicitations": week["elicit_constant"],
        "constant_elicitation_share": part(week["elicit_constant"], generated),
    }
