"""Conversations: how deep, how many at a time, and what comes back in them."""

from __future__ import annotations

from detectors.features.parts import MIN_EXCHANGES, Counts, Found, deviation, part


def conversation(week: Counts, day: Counts, age_d: float | None) -> Found:
    """Depth, continuation, relays, echoes, provenance of reasoning, and what is spent."""
    generated = week["generated"]
    tokens = day["input_tokens"] + day["output_tokens"]
    enough = generated >= MIN_EXCHANGES
    return {
        "chain_continuation": part(week["continued"], generated),
        "depth_spread": deviation(week["depth"], week["depth_sq"], generated) if enough else None,
        "input_spread": deviation(week["input_ln"], week["input_ln_sq"], generated) if enough else None,
        "output_spread": deviation(week["written_ln"], week["written_ln_sq"], generated) if enough else None,
        "system_prompt_share": part(week["prompted"], generated),
        "tokens_24h": tokens,
        "spend_velocity": tokens / max(1.0, age_d) if age_d is not None else None,
        "open_chains": week["open_chains"] / generated if enough else None,
        "output_echo_share": part(week["echoed"], generated),
        "output_echoes": week["echoed"],
        "end_user_share": part(week["end_user"], generated),
        "client_mismatch_share": part(week["odd_client"], week["known_client"]),
        "foreign_reasoning": week["foreign_blocks"] if week["replayed"] > 0 else None,
        "foreign_reasoning_share": part(week["foreign"], week["replayed"]),
        "moved_reasoning_share": part(week["moved"], week["replayed"]),
        "weekend_share": part(week["weekend"], generated),
    }
