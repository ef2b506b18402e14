#!/usr/bin/env python3
"""Makes a wrong copy of a source file, to show that the tests notice.

    mutate.py NAME SOURCE OUTPUT     replaces the one text that mutant NAME replaces
    mutate.py --list                 one line per mutant: its name and the file it is made of
"""

import pathlib
import sys

# Name: (file in engine/, the text, what stands in its place, why it is wrong).
MUTANTS = {
    "raw_q": (
        "round.cc",
        """    work.proposals.push_back(sampler.Warp(logits, draft_head_->token_ids));
    id = SampleFrom(work.proposals.back(), sequence.uniforms().Next());
""",
        """    id = SampleFrom(sampler.Warp(logits, draft_head_->token_ids), sequence.uniforms().Next());
    work.proposals.push_back(Sampler(SamplingParams{}, 0, {}).Warp(logits));
""",
        "q is not what the draft was drawn from"),
    "unmapped_q": (
        "round.cc",
        """    work.proposals.push_back(sampler.Warp(logits, draft_head_->token_ids));
    id = SampleFrom(work.proposals.back(), sequence.uniforms().Next());
""",
        """    work.proposals.push_back(sampler.Warp(logits));
    id = draft_head_->token_ids[SampleFrom(work.proposals.back(), sequence.uniforms().Next())];
""",
        "q is of places in the draft vocabulary, the draft is a token"),
    "share_as_q": (
        "round.cc",
        """    id = SampleFrom(work.proposals.back(), sequence.uniforms().Next());
""",
        """    id = SampleFrom(work.proposals.back(), sequence.uniforms().Next());
    for (double& q : work.proposals.back().probs) q *= draft_head_->token_ids.empty() ? 1.0 : 0.5;
""",
        "q is the share of the whole vocabulary's mass, though the draft came from a part"),
    "wrong_q": (
        "round.cc",
        "verdict = VerifyDraft(sampler.Warp(logits), work.proposals[draft_index],",
        "verdict = VerifyDraft(sampler.Warp(logits), work.proposals.back(),",
        "q is another position's"),
    "missing_bonus": (
        "round.cc",
        """  } else {
    verdict.token = SampleFrom(sampler.Warp(logits), sequence.uniforms().Next());
""",
        """  } else {
    if (work.num_accepted > 0) return false;
    verdict.token = SampleFrom(sampler.Warp(logits), sequence.uniforms().Next());
""",
        "a block whose drafts are all accepted gives no token of the target's own"),
    "stale_penalties": (
        "round.cc",
        "for (const TokenId id : work.drafts) work.sequence->sampler().Pop(id);",
        "for (const TokenId id : work.drafts) id < 0 ? work.sequence->sampler().Pop(id) : void();",
        "the penalties count drafts as if they were committed"),
    "resampled_draft": (
        "round.cc",
        "verdict.accepted && !sequence.finish_reason()",
        "has_draft && !sequence.finish_reason()",
        "goes on after a rejected draft with rows that have seen the draft"),
    "residual_is_p": (
        "verification.cc",
        "const double excess = target.probs[i] - (proposed ? proposal.probs[j] : 0.0);",
        "const double excess = target.probs[i] + (proposed ? 0.0 : 0.0);",
        "a rejected draft is replaced from p, not from what q lacks of it"),
    "reused_uniform": (
        "verification.cc",
        """  if (uniforms.Next() * q < p) return {true, draft};
  const Distribution residual = Residual(target, proposal);
""",
        """  const double u = uniforms.Next();
  if (u * q < p) return {true, draft};
  const Distribution residual = Residual(target, proposal);
  if (!residual.ids.empty()) return {false, SampleFrom(residual, u)};
""",
        "the residual's number depends on the verdict"),
    "accepts_all": (
        "verification.cc",
        "if (uniforms.Next() * q < p) return",
        "if (uniforms.Next() * q < p || p > 0) return",
        "accepts every draft that the target could generate"),
    "accepts_by_p": (
        "verification.cc",
        "if (uniforms.Next() * q < p) return",
        "if (uniforms.Next() < (q > 0 ? p : 0)) return",
        "accepts with probability p, not p / q"),
    "unnormalised_residual": (
        "verification.cc",
        "prob /= total;",
        "prob /= total > 0 ? 1 : 2;",
        "the mass that the residual lacks goes to its last token"),
    "swapped_residual": (
        "verification.cc",
        "const double excess = target.probs[i] - (proposed ? proposal.probs[j] : 0.0);",
        "const double excess = (proposed ? proposal.probs[j] : 0.0) - target.probs[i];",
        "replaces a draft by what p lacks of q"),
}


def main(arguments):
    if arguments == ["--list"]:
        print("\n".join(f"{name} {entry[0]}" for name, entry in MUTANTS.items()))
        return
    name, source, output = arguments
    file, old, new, why = MUTANTS[name]
    text = pathlib.Path(source).read_text(encoding="utf-8")
    if pathlib.Path(source).name != file:
        sys.exit(f"mutate.py: {name} is a mutant of {file}, not of {source}")
    if text.count(old) != 1:
        sys.exit(f"mutate.py: {source} has {text.count(old)} places for {name}, must have one; "
                 f"adapt the mutant to the source. Looked for:\n{old}")
    pathlib.Path(output).write_text(f"// Mutant {name}: {why}.\n" + text.replace(old, new),
                                    encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
