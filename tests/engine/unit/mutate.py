#!/usr/bin/env python3
"""Makes a wrong copy of a source file, to show that the tests notice.

    mutate.py NAME SOURCE OUTPUT     replaces the one text that mutant NAME replaces
    mutate.py --list                 one line per mutant: its name and the file it is made of
"""

import pathlib
import sys

# Name: (file in engine/ or kernels/cuda/, the text, what stands in its place, why it is wrong).
MUTANTS = {
    "raw_q": (
        "round.cc",
        "slots_.proposals[work.first_slot + work.num_drafts] = *kept;",
        """slots_.proposals[work.first_slot + work.num_drafts] =
      *proposals_.Keep(Sampler(SamplingParams{}, 0, {}).Warp(logits, scratch_), logits.ids);""",
        "q is not what the draft was drawn from"),
    "unmapped_q": (
        "round.cc",
        """      proposals_.Keep(sampler.Warp(logits, scratch_), logits.ids);
  if (!kept) return false;
  slots_.proposals[work.first_slot + work.num_drafts] = *kept;
  *id = SampleFrom(*kept, work.sequence->uniforms().Next());
""",
        """      proposals_.Keep(sampler.Warp(Logits(logits.values), scratch_), {});
  if (!kept) return false;
  slots_.proposals[work.first_slot + work.num_drafts] = *kept;
  *id = logits.IdAt(SampleFrom(*kept, work.sequence->uniforms().Next()));
""",
        "q is of places in the draft vocabulary, the draft is a token"),
    "share_as_q": (
        "round.cc",
        "slots_.proposals[work.first_slot + work.num_drafts] = *kept;",
        """slots_.proposals[work.first_slot + work.num_drafts] = *kept;
  if (!logits.ids.empty()) slots_.proposals[work.first_slot + work.num_drafts].total *= 2;""",
        "q is the share of the whole vocabulary's mass, though the draft came from a part"),
    "wrong_q": (
        "round.cc",
        "proposal = {slots_.ids[slot], slots_.proposals[slot]};",
        """proposal = {slots_.ids[slot],
                             slots_.proposals[work.first_slot + work.num_drafts - 1]};""",
        "q is another position's"),
    "missing_bonus": (
        "round.cc",
        "  if (sequence.finish_reason()) return;\n  sequence.Commit(verdict_.token",
        """  if (sequence.finish_reason() || work.num_accepted == std::max(work.num_drafts, 1)) return;
  sequence.Commit(verdict_.token""",
        "a block whose drafts are all accepted gives no token of the target's own"),
    "one_too_many": (
        "round.cc",
        "  verdict_.num_accepted = verifier_.num_accepted();\n",
        "  verdict_.num_accepted = std::min(verifier_.num_accepted() + 1, work.num_drafts);\n",
        "accepts a rejected draft, and follows it by what stands in its place"),
    "stale_penalties": (
        "round.cc",
        "for (const TokenId id : Drafts(work)) work.sequence->sampler().Pop(id);",
        "for (const TokenId id : Drafts(work)) id < 0 ? work.sequence->sampler().Pop(id) : void();",
        "the penalties count drafts as if they were committed"),
    "double_penalties": (
        "round.cc",
        "for (const TokenId id : drafts.first(num_before)) sampler.Pop(id);",
        "for (const TokenId id : drafts.first(num_before)) id < 0 ? sampler.Pop(id) : void();",
        "the penalties count drafts that are committed twice"),
    "residual_is_p": (
        "verification.cc",
        "const double excess = target_.weights[i] * target_scale_ - q;",
        "const double excess = target_.weights[i] * target_scale_ - 0 * q;",
        "a rejected draft is replaced from p, not from what q lacks of it"),
    "swapped_residual": (
        "verification.cc",
        "const double excess = target_.weights[i] * target_scale_ - q;",
        "const double excess = q - target_.weights[i] * target_scale_;",
        "replaces a draft by what p lacks of q"),
    "unnormalised_residual": (
        "verification.cc",
        "const double wanted = u * (mass + none);",
        "const double wanted = u;",
        "the mass that the residual lacks goes to its last token"),
    "shared_excess_of_p": (
        "verification.cc",
        "return SumOfExcess(target_.weights, target_scale_, proposal_.weights, proposal_scale_);",
        "return SumOfExcess(target_.weights, target_scale_, proposal_.weights, 0);",
        "the mass of what q lacks is p's, where both are over all tokens"),
    "reused_uniform": (
        "verification.cc",
        """  if (uniforms.Next() < Ratio(target, *proposal)) {
    ++row_;
    return true;
  }
  const double u = uniforms.Next();
""",
        """  const double u = uniforms.Next();
  if (u < Ratio(target, *proposal)) {
    ++row_;
    return true;
  }
""",
        "the residual's number depends on the verdict"),
    "accepts_all": (
        "verification.cc",
        "if (uniforms.Next() < Ratio(target, *proposal)) {",
        "if (uniforms.Next() < 1e30 * Ratio(target, *proposal)) {",
        "accepts every draft that the target could generate"),
    "accepts_by_p": (
        "verification.cc",
        "if (uniforms.Next() < Ratio(target, *proposal)) {",
        "if (uniforms.Next() < target.Probability(proposal->token)) {",
        "accepts with probability p, not p / q"),
    "unbounded_reach": (
        "verification.cc",
        "reach_ = std::min(1.0, reach_ * Ratio(target, *proposal));",
        "reach_ = std::min(1e9, reach_ * Ratio(target, *proposal));",
        "a draft that the target likes better makes up for those after it"),
    "forgotten_reach": (
        "verification.cc",
        "reach_ = std::min(1.0, reach_ * Ratio(target, *proposal));",
        "reach_ = std::min(1.0, Ratio(target, *proposal));",
        "the last draft alone decides about the block"),
    "residual_without_reach": (
        "verification.cc",
        "DrawExcess(target, reach_, proposal->distribution, 1 - reach_, u);",
        "DrawExcess(target, 1, proposal->distribution, 1 - reach_, u);",
        "draws from max(p - q, 0) after drafts whose reach is less than 1"),
    "certain_rows": (
        "verification.cc",
        "DrawExcess(target, reach_, proposal->distribution, 1 - reach_, u);",
        "DrawExcess(target, reach_, proposal->distribution, 0, u);",
        "every row gives a token, so that drafts before it are always accepted"),
    "first_row_decides": (
        "verification.cc",
        "  if (token) {\n    Settle(*token);",
        "  if (token && num_accepted_ == 0) {\n    Settle(*token);",
        "later rows than the first that gives a token after a draft do not count"),
    "certain_end": (
        "verification.cc",
        "if (u < reach_) Settle(SampleFrom(target, u / reach_));",
        "Settle(SampleFrom(target, u));",
        "accepts every block as a whole"),
    "biased_end": (
        "verification.cc",
        "if (u < reach_) Settle(SampleFrom(target, u / reach_));",
        "if (u < reach_) Settle(SampleFrom(target, u));",
        "the token after the block depends on the verdict"),
    "rounding_row": (
        "verification.cc",
        "} else if (row_ == 0) {",
        "} else {",
        "where a row gives no token the target's own follows"),
    # ---- The same on a GPU
    "cuda_penalties_without_drafts": (
        "choice_kernels.cu",
        "generated += drafts[j].token == id ? 1 : 0;",
        "generated += drafts[j].token == id ? 0 : 0;",
        "the penalties do not count the drafts before"),
    "cuda_repeated_penalties": (
        "choice_kernels.cu",
        "if (is_first && (place",
        "if ((is_first || !is_first) && (place",
        "a draft that occurs twice is penalised twice"),
    "cuda_same_noise": (
        "choice_kernels.cu",
        "NoiseKey(s.seed, s.sample_index, s.position + c.num_before)",
        "NoiseKey(s.seed, s.sample_index, s.position)",
        "a round's positions share their noise"),
    "cuda_careless_bound": (
        "choice_kernels.cu",
        "constexpr double kSlack = 1.0 + 1e-4;",
        "constexpr double kSlack = 0.25;",
        "passes over tokens whose noise could make them the largest"),
    "cuda_residual_is_p": (
        "choice_kernels.cu",
        "target.values[i] * p_scale - proposal.values[i] * q_scale;",
        "target.values[i] * p_scale - 0 * proposal.values[i] * q_scale;",
        "a rejected draft is replaced from p, not from what q lacks of it"),
    "cuda_unbounded_reach": (
        "choice_kernels.cu",
        "verdict_.reach = min(1.0, verdict_.reach * ratio);",
        "verdict_.reach = min(1e9, verdict_.reach * ratio);",
        "a draft that the target likes better makes up for those after it"),
    "cuda_certain_rows": (
        "choice_kernels.cu",
        "proposal, 1 - verdict_.reach, u);",
        "proposal, 0, u);",
        "every row gives a token, so that drafts before it are always accepted"),
    "cuda_biased_end": (
        "choice_kernels.cu",
        "Sample(target, u / verdict_.reach)",
        "Sample(target, u)",
        "the token after the block depends on the verdict"),
    "cuda_forgotten_verdict": (
        "choice_kernels.cu",
        "first.num_before == 0 ? Verdict() : round.verdicts[first.sequence]",
        "first.num_before >= 0 ? Verdict() : round.verdicts[first.sequence]",
        "rows of a sequence in a second call begin a block of their own"),
    "cuda_unstopped_drafts": (
        "choice_kernels.cu",
        "return stopped < num_drafts ? stopped + 1 : num_drafts;",
        "return stopped < 0 ? stopped + 1 : num_drafts;",
        "drafts behind a stop count"),
    "cuda_reused_uniforms": (
        "choice_kernels.cu",
        "sequence_.uniforms.begin + num_drafts_ + verdict_.num_uniforms++",
        "sequence_.uniforms.begin + verdict_.num_uniforms++",
        "verification draws with the drafts' numbers"),
    "cuda_draft_of_first_rank": (
        "choice_kernels.cu",
        "drafts[slots[row]].token - first_token;",
        "drafts[slots[row]].token - 0 * first_token;",
        "ranks but the first take a draft for one of the first's tokens"),
    "cuda_draft_of_every_rank": (
        "choice_kernels.cu",
        "token >= 0 && token < num_tokens ? token : -1;",
        "(token % num_tokens + num_tokens) % num_tokens;",
        "ranks that do not have a draft's token embed another"),
    "cuda_parts_reversed": (
        "choice_kernels.cu",
        "parts[part * rows * widest +",
        "parts[(gridDim.z - 1 - part) * rows * widest +",
        "each rank's logits stand where another's should"),
    "cuda_parts_as_wide_as_the_widest": (
        "choice_kernels.cu",
        "row * widths[part] + column];",
        "row * widest + column];",
        "rows of a narrow part are read as if it were the widest"),
    "cuda_all_gather_the_first_part": (
        "nccl_communicator.cc",
        "x.as<char>() + rank_ * part, x.data,",
        "x.as<char>() + 0 * rank_ * part, x.data,",
        "every rank gives what stands in the first one's place"),
    "cuda_row_not_yet_copied": (
        "choice_kernels.cu",
        """c.changed[i] = c.raw.values[i];
  __syncthreads();
""",
        "c.changed[i] = c.raw.values[i];\n",
        "a bias may be added before the logit is copied"),
    "cuda_weights_not_yet_cleared": (
        "choice_kernels.cu",
        "weights[i] = 0;\n    __syncthreads();\n",
        "weights[i] = 0;\n",
        "a weight may be cleared after it is written"),
    "cuda_largest_still_read": (
        "choice_kernels.cu",
        "  __syncthreads();  // all know the row's largest\n",
        "",
        "the largest logit may be overwritten by its weight before all have read it"),
    "cuda_sums_not_yet_written": (
        "block_sums.h",
        """sums[threadIdx.x / kWarp] = value;
  __syncthreads();
""",
        "sums[threadIdx.x / kWarp] = value;\n",
        "the sum may be taken before all warps have brought theirs"),
    "cuda_last_of_equals": (
        "block_sums.h",
        "b.index < a.index",
        "b.index > a.index",
        "of equal logits the last is chosen"),
    "cuda_tie_too_many": (
        "token_row.h",
        "FindIndex(row.tokens.width, ties, num_kept - 1)",
        "FindIndex(row.tokens.width, ties, num_kept)",
        "one token too many of those with the least logit is left"),
    "cuda_f16_overflows": (
        "device_language.h",
        "fabsf(value) > kMaxF16 ? copysignf(kMaxF16, value) : value",
        "value",
        "what is beyond f16's range becomes infinite"),
    "cuda_f16_nan_saturates": (
        "device_language.h",
        "fabsf(value) > kMaxF16 ?",
        "!(fabsf(value) <= kMaxF16) ?",
        "what is no number becomes f16's largest"),
    "cuda_f16_keys_swapped": (
        "attention_tile.h",
        "__half22float2(*reinterpret_cast<const __half2*>(at))",
        "{ToFloat(at[1]), ToFloat(at[0])}",
        "a key's neighbours change places"),
    "cuda_f16_kv_is_bf16": (
        "cuda_backend.cc",
        "(device_, shape, FloatTypeOf(options_.weights))",
        "(device_, shape, DType::kBF16)",
        "keys and values are held as bf16"),
    "cuda_f16_multiplied_as_bf16": (
        "mat_mul_kernels.cu",
        "Mma<Half>(",
        "Mma<__nv_bfloat16>(",
        "tensor cores take f16 for bf16"),
    "cuda_f16_weights_through_bf16": (
        "weights.cc",
        ": ToF16InRange(value)",
        ": ToF16InRange(Bf16ToF32(F32ToBf16(value)))",
        "weights are rounded to bf16 first"),
    "cuda_f16_weights_overflow": (
        "weights.cc",
        "if (std::abs(weight) > kMaxF16) {",
        "if (false) {",
        "weights beyond f16's range become infinite"),
    "cuda_f16_is_bf16_to_cublas": (
        "products.cc",
        "CUDA_R_16BF : CUDA_R_16F",
        "CUDA_R_16BF : CUDA_R_16BF",
        "cuBLAS takes f16 for bf16"),
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
